"""Runs against judgments: measures, ties, significance, and fusion of runs."""
