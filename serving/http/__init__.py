"""What comes in and what goes out: events, request bodies, options, and the forms of an answer."""
