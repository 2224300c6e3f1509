"""The loop over epochs: training, evaluation, saving, interruption."""
