"""From a folder of photos to a bundled model by one command, as a recipe's TOML file says."""
