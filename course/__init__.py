"""The tools behind `make`, and their tests."""
