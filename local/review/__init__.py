"""A page on this machine on which a person labels photos, into the folder that is trained on."""
