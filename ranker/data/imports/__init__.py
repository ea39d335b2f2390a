"""Other shapes of data as ``Material``: one module for each family of formats, and the registry of all."""
