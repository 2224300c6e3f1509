"""Models of one structure become one: soups, and the line between two."""
