"""Training: the loop, its batches, augmentation, optimizers, distillation and resuming."""
