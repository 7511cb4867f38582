"""Sample pictures, one for each class of the bundled model, drawn by `python -m samples.draw`."""
