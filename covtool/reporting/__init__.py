"""Pages about a subject: an evaluation, a run, a data set."""
