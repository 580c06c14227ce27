"""The training loop, its optimizers and learning-rate schedules, and the folder of a run."""
