"""Models: an encoder answers in views, a head turns views into one score per pair."""
