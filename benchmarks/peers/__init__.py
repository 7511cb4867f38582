"""What we are compared with: handlers, runtimes, models and training as the workshop has them."""
