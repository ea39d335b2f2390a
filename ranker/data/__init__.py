"""What flows through the toolkit: passages, queries, judgments and runs."""
