"""Folders of images: names of splits and classes, masks, files left out."""
