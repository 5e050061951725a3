"""Modules that the measurements run inside a copy of step 5, with its settings and its models."""
