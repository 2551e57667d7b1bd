"""How a trained network is scored: predictions, thresholds, scores, the photographs to score."""
