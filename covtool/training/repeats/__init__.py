"""Repeats of a run with several seeds and on several folds, in a folder of them all."""
