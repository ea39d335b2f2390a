"""Models: an encoder turns pairs into views, and a head turns views into one score per pair."""
