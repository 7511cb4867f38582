"""Photos in class folders: what is trained on, decoded once, and what is wrong with them."""
