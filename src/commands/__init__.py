"""What only the commands need: no stage reads it."""
