"""Files: read in lines, written whole or not at all, known by their digests."""
