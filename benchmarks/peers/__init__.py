"""What we are compared with: other handlers and runtimes, their models, the workshop's training."""
