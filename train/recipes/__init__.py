"""From a folder of photos to a model in one command, by a recipe of named steps."""
