"""Images without a file of their own: tar shards and Hugging Face data sets."""
