"""Measurements against other ways of doing the same; each in one run on one machine."""
