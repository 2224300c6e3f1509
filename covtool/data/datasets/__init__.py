"""Data sets on disk: samples, layouts, lists, folders, records, retrieval data, checks."""
