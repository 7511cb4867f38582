"""Tools before, during and after a deployment. Nothing here runs in the image."""
