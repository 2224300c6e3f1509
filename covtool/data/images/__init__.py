"""Image files: formats, bounds, orientation, decoding."""
