"""A release: put out by deploy, taken back by rollback."""
