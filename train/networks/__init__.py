"""Networks: a pretrained backbone with a new head, and the features of a frozen backbone."""
