"""Lists of images: text, CSV files, their columns and labels."""
