"""What finds: Lucene through Anserini, and FAISS."""
