"""The bytes of an image file in, an upright RGB image out."""
