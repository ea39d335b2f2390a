"""Reading, writing and verifying files of every format."""
