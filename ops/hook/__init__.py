"""The function that CodeDeploy runs before a new version gets traffic; ships as a zip by itself."""
