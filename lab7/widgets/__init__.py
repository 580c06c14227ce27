"""The notebooks' controls."""
