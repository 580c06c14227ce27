"""Arms, many trainings of them, and what came out."""
