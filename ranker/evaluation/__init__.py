"""What judgments say of runs: measures, ties, significance, and fusion of runs."""
