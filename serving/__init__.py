"""All that runs inside the Lambda image: an event goes in, an answer comes out."""
