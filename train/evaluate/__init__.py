"""Measuring and using a model: figures, calibration, report, predictions."""
