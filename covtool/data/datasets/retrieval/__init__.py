"""Data sets for retrieval: forms, subsets, and a report of what they hold."""
