"""One update of the weights, and what happens if it is not finite or too large for memory."""
