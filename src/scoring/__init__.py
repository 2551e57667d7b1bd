"""How a trained network is scored: predictions, scores, the photographs to score."""
