"""Runs in a model's order: the reranking itself, its plan beforehand, and its verification."""
