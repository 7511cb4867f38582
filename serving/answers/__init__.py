"""What goes out: the media type, problems, the page, text for a terminal, the description."""
