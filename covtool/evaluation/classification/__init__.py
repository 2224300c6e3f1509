"""Classification: accuracy, matching of classes, white-box attacks."""
