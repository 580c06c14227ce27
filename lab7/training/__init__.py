"""The loop, its optimizers and learning rates, and the folder that a run leaves."""
