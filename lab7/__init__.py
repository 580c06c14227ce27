"""lab7: learn conditional diffusion by drawing i-CLEVR scenes."""

__version__ = "0.1.0"
