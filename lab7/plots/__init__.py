"""Figures; they take data and train nothing."""
