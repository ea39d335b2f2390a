"""The command line: parse, open, one library call, write, one line."""
