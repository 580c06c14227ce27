"""The network that counts objects, how it is trained, and how pictures are scored with it."""
