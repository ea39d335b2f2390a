"""Studies: arms trained alike, scored, compared and reported."""
