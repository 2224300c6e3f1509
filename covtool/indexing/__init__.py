"""Files of features that are searched with new images."""
