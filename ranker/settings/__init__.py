"""Settings of indexes, models, training and computing, each declared once."""
