"""The notebooks' controls, and how source and figures are shown."""
