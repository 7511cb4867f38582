"""A URL or an s3:// URI in, the bytes behind it out, by a way that is safe for both sides."""
