"""Every setting of an index, a model, its training and its computing."""
