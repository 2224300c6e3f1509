"""Model cards, and files on a hub."""
