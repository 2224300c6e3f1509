"""What differs between two files or two runs."""
