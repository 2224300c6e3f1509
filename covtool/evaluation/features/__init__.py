"""Features of images: extraction, tables, and files that hold them."""
