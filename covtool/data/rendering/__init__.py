"""Decoded pixels to network inputs: drawing, cropping, flipping, color, on any device."""
