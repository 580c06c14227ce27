"""Notebooks executed in batch and bound into one document."""
