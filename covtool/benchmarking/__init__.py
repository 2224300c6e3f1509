"""Measure what covtool computes: time, memory, error, side by side in one process."""
