"""What doctor looks at: each module takes a part of a deployment and gives findings."""
