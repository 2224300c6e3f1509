"""Answers of a model for images without labels."""
