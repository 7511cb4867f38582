"""Photos in class folders in, a run's folder with a trained model out.

`fit` reads from top to bottom: photos, network, epochs. All randomness of an epoch is drawn from
the seed and the epoch's number, so a run that is killed and resumed ends with the same weights.
"""

import math
import time
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from serving.model.preprocess import scale_and_offset
from train.config import FitConfig
from train.fit import checkpoints, earlier_runs, loaders, optim
from train.fit.augmentation import at_size, batch_mixing, normalize_on_device
from train.fit.distillation import distillation_loss, joint_teacher, renormalized
from train.fit.loaders import Batches, epoch_order, mixed_seed
from train.fit.machine import compiled, make_accelerator, start_tracker
from train.fit.options import require_used
from train.networks.backbones import preprocessing, with_own_size
from train.networks.transfer import build, load_weights, require_trainable
from train.photos import splits
from train.photos.manifest import Labels
from train.runs.folder import MODEL
from train.runs.model import save_model


def fit(config: FitConfig) -> None:
    """Train as the config says, and write the result into `config.out`; may raise a TrainError."""
    require_used(config)
    read = config.data
    # How the photos are read this time is no setting of the run.
    settled = replace(read, rehash=False, cache_gb=-1.0)
    config = replace(config, network=with_own_size(config.network), data=settled)
    accelerator = make_accelerator(config)
    device = accelerator.device
    say = tqdm.write if accelerator.is_main_process else _say_nothing
    with accelerator.main_process_first():
        checkpoints.open_run(config, first=accelerator.is_main_process)
    start_tracker(accelerator, config)

    # The photos. The first process of each machine fills its cache, the others read it.
    with accelerator.local_main_process_first():
        data = read if accelerator.is_local_main_process else settled
        manifest, training, choosing = splits.divide(data, loaders.cached_for(config))
    config = replace(config, data=splits.measured(config.data, training))
    classes = manifest.classes
    spec = preprocessing(config.network.backbone, config.network.input_px, config.data.levels)
    training_labels = training.labels()
    order = epoch_order(config, training_labels)

    # The network: only its head, on features computed once, or all of it, on photos.
    torch.manual_seed(config.seed)
    resumed = checkpoints.read_last(config, manifest)
    given = config.start or resumed  # all weights, so none come from --weights
    shape = replace(config.network, weights="none") if given else config.network
    whole = build(shape, len(classes))
    if resumed:
        with checkpoints.restoring(config.out):
            load_weights(whole, resumed["trained"])
    elif config.start:
        earlier_runs.take_start(config, manifest, whole)
    teachers = earlier_runs.open_teachers(config, manifest)
    _set_batchnorm_momentum(whole, config.batchnorm_momentum)
    require_trainable(whole, config, config.batch // accelerator.num_processes)
    on_features = config.on_features
    trained: nn.Module = whole.head if on_features else whole
    with accelerator.local_main_process_first():
        loaders_by_size = loaders.training_loaders(config, whole.backbone, training, order, device)
        evaluation = loaders.choosing_loader(config, whole.backbone, choosing, accelerator)

    batches = [len(loaders_by_size[_which_size(config, epoch)]) for epoch in range(config.epochs)]
    steps = sum(math.ceil(count / config.accumulate) for count in batches)
    optimizer = optim.make_optimizer(config, whole)
    schedule = optim.make_schedule(config, optimizer, steps)
    average = optim.moving_average(trained.to(device), config.ema) if config.ema else None
    model, optimizer = accelerator.prepare(trained, optimizer)
    # Same weights, compiled graph; checkpoints and the average use the module itself.
    forward = compiled(model, device) if config.compile else model
    loaders_by_size = [accelerator.prepare(loader) for loader in loaders_by_size]
    kept = average.module if average else trained  # whose weights become the run's model
    mixing = batch_mixing(config.mixup, config.cutmix, len(classes), share=config.mix_share)
    class_weights = _class_weights(training_labels, len(classes)).to(device)
    scale, offset = (torch.from_numpy(c).view(3, 1, 1).to(device) for c in scale_and_offset(spec))
    teach = None
    if teachers:
        teach = joint_teacher(
            [renormalized(t.network, spec, t.spec).to(device) for t in teachers],
            compiled=config.compile,
        )

    state = checkpoints.TrainingState(
        whole, optimizer, schedule, average, accelerator.scaler, history=[]
    )
    if resumed:
        with checkpoints.restoring(config.out):
            state.load_state_dict(resumed)
        if checkpoints.is_model_lost(config, state.history) and accelerator.is_main_process:
            save_model(config, manifest, whole, kept, state.history[-1])
    history = state.history
    say(
        f"{len(training_labels):,} photos, {len(classes)} classes, {device}, {config.epochs} epochs"
    )
    for epoch in range(len(history), config.epochs):
        if checkpoints.out_of_patience(config, history):
            say(f"no improvement in {config.patience} epochs: stopping early")
            break
        torch.manual_seed(mixed_seed(config.seed, epoch, accelerator.process_index))
        order.epoch = epoch
        which = _which_size(config, epoch)
        loader, size_px = loaders_by_size[which], config.training_px[which]
        model.train()
        started = time.perf_counter()
        total_loss = torch.zeros((), device=device)
        total_right = torch.zeros((), device=device)
        total_photos = 0
        bar = tqdm(
            total=len(loader) * config.batch,
            desc=f"epoch {epoch + 1}/{config.epochs}",
            unit="img",
            leave=False,
            disable=not accelerator.is_main_process,
        )
        for step, (inputs, labels) in enumerate(loader):  # (B, 3, S, S) uint8 or (B, F); (B,) int64
            if not on_features:
                inputs = normalize_on_device(inputs, scale, offset)
            targets = labels
            if mixing is not None and not on_features:
                inputs, targets = mixing(inputs, labels)  # targets become (B, C) float32
            larger = inputs  # for the teacher; the network gets its training size
            if not on_features:
                inputs = at_size(inputs, size_px)
            # The gradients of --accumulate batches are added; the last few of an epoch may be less.
            added = min(
                config.accumulate, len(loader) - step // config.accumulate * config.accumulate
            )
            with accelerator.accumulate(model):
                with accelerator.autocast():
                    logits = forward(inputs)  # (B, C)
                    loss = cross_entropy(
                        logits,
                        targets,
                        weight=class_weights if config.class_weights else None,
                        label_smoothing=config.label_smoothing,
                    )
                    if teach is not None:
                        loss = distillation_loss(logits, teach(larger), loss, config.teacher_weight)
                accelerator.backward(loss * (config.accumulate / added))  # it divides by the first
                if config.clip_norm and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), config.clip_norm)
                optimizer.step()  # only after the last batch of those added
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                schedule.step()
                if average is not None:
                    average.update_parameters(accelerator.unwrap_model(model))
            total_loss += loss.detach() * len(labels)
            total_right += (logits.detach().argmax(dim=1) == labels).sum()
            total_photos += len(labels)
            bar.update(len(labels) * accelerator.num_processes)
        bar.close()
        seconds = time.perf_counter() - started
        sums = torch.tensor([total_loss.item(), total_right.item(), total_photos], device=device)
        loss_sum, right, photos = (float(v) for v in accelerator.reduce(sums, reduction="sum"))
        entry: dict[str, Any] = {
            "epoch": epoch + 1,
            "train_loss": loss_sum / photos,
            "train_accuracy": right / photos,
            "lr": schedule.get_last_lr()[0],
            "images_per_s": photos / seconds,
            "seconds": seconds,
        }
        if evaluation is not None:
            entry |= _evaluate(kept, evaluation, (scale, offset), accelerator, len(classes))
        checkpoints.require_finite(entry, kept, config.out)
        history.append(entry)
        say(_describe(entry))
        if accelerator.is_main_process:
            if checkpoints.is_kept(config, history):
                save_model(config, manifest, whole, kept, history[-1])
            checkpoints.save_last(config.out, state, manifest)
            checkpoints.save_record(config, manifest, training, choosing, history)
        # A tracker whose server is gone costs no epoch.
        accelerator.log({k: v for k, v in entry.items() if k != "epoch"}, step=epoch + 1)
        accelerator.wait_for_everyone()
    # Before the processes part. The distributed model would otherwise hold the last reference to
    # their group and end its threads while it keeps Python's lock, for which a thread may wait.
    del model, forward
    accelerator.free_memory()
    accelerator.end_training()
    say(f"The model is {config.out / MODEL}; export it: python -m train export {config.out}")


def _which_size(config: FitConfig, epoch: int) -> int:
    """The index of an epoch's training size; each size has an equal part of the epochs."""
    return epoch * len(config.training_px) // config.epochs


def _class_weights(labels: Labels, classes: int) -> Tensor:
    """(C,): the inverse of each class's share of the photos, 1 if all classes are equal."""
    counts = torch.bincount(torch.from_numpy(labels), minlength=classes).clamp(min=1)
    return counts.sum() / (classes * counts.float())


def _set_batchnorm_momentum(module: nn.Module, momentum: float) -> None:
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.momentum = momentum


@torch.inference_mode()
def _evaluate(
    kept: nn.Module,
    evaluation: Batches,
    normalization: tuple[Tensor, Tensor],
    accelerator: Accelerator,
    classes: int,
) -> dict[str, float]:
    """Loss, accuracy and F1 of the weights that would become the model, over all processes."""
    kept.eval()
    loss, counts = 0.0, torch.zeros(classes * classes, dtype=torch.int64)
    for inputs, labels in evaluation:  # (B, 3, H, W) uint8 or (B, F) float32; (B,)
        inputs = inputs.to(accelerator.device)
        if inputs.dtype == torch.uint8:
            inputs = normalize_on_device(inputs, *normalization)
        logits = kept(inputs).double().cpu()  # (B, C)
        loss += cross_entropy(logits, labels, reduction="sum").item()
        counts += torch.bincount(labels * classes + logits.argmax(dim=1), minlength=classes**2)
    # One exchange of the same size, whatever the number of photos: a process may have none.
    parts = gather_object([(loss, counts.tolist())])
    confusion = torch.tensor([each for _, each in parts]).sum(dim=0).view(classes, classes)
    photos, right = confusion.sum(dim=1), confusion.diagonal()
    f1 = 2 * right / (photos + confusion.sum(dim=0)).clamp(min=1)
    return {
        "validation_loss": sum(each for each, _ in parts) / int(photos.sum()),
        "validation_accuracy": int(right.sum()) / int(photos.sum()),
        "validation_f1": f1[photos > 0].mean().item(),
    }


def _describe(entry: dict[str, Any]) -> str:
    line = (
        f"epoch {entry['epoch']:>3}  train loss {entry['train_loss']:.4f} "
        f"accuracy {entry['train_accuracy']:.4f}"
    )
    if "validation_loss" in entry:
        line += (
            f"  validation loss {entry['validation_loss']:.4f} "
            f"accuracy {entry['validation_accuracy']:.4f}"
        )
    return f"{line}  {entry['images_per_s']:,.0f} img/s"


def _say_nothing(line: str) -> None:
    """Only the first process prints."""
