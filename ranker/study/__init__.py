"""The study: every way to use BERT for ranking, side by side, at equal cost."""
