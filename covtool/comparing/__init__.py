"""Heads, taps, checkpoints and image sizes side by side, by what each left-out image gets."""
