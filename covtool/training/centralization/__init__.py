"""Gradient centralization on any optimizer: hooks, published rules, coupled weight decay."""
