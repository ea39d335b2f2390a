"""Importing data of other formats: a module for each family of formats, and the registry of all."""
