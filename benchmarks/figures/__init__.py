"""The figures of the last runs as JSON, and the table of goals made from them."""
