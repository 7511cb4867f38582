"""The figures of the last runs as JSON, and the table of goals that is made of them."""
