"""Retrieval: comparison, search, relevance, re-ranking, figures."""
