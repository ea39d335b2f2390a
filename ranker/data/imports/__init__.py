"""Other shapes of data as ``DatasetStreams``: one module for each family of formats, and the registry of all."""
