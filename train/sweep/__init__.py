"""Comparing learning rates, head sizes and dropouts on a frozen backbone."""
