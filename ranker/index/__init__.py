"""Indexes of passages: BM25 by Lucene, and the vectors of a dual encoder by FAISS."""
