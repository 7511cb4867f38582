"""The function that CodeDeploy runs before a new version gets traffic; deployed as its own zip."""
