"""What comes in: events and their paths, request bodies, forms, options."""
