"""Around a deployment: before it, during it and after it. Nothing here runs in the image."""
