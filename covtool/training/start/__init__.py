"""The start of a run: from a request, or from a saved state."""
