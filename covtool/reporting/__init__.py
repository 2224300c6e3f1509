"""Pages of a subject: an evaluation, a training run, several runs side by side."""
