"""Scenes, their pictures, and the course's folder read and written."""
