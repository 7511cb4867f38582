"""The folder of a run: the files that a training writes, and how its model is read again."""
