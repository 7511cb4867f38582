"""Many photos on AWS: a list cut into shards, a state machine over them, photos as they arrive."""
