"""The exercises of the notebooks: their gaps, checks and the key, all from one source."""
