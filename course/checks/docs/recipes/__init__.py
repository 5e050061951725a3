"""The scenes of the recipes: a module for each page in `docs/recipes`."""
