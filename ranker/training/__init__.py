"""What learns: negatives, losses and the loop."""
