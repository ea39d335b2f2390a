"""Work shared among the workers of a Ray cluster."""
