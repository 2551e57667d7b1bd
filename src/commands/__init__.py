"""What only the commands need: the outputs of no stage depend on it."""
