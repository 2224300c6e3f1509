"""Data sets on disk, how their images are checked, prepared and batched."""
