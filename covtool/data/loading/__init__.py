"""Batches for training and evaluation: orders, worker processes, unreadable images."""
