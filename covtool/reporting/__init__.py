"""Pages of a subject: an evaluation."""
