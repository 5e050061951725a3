"""Tests in a real browser: they check what a person sees and what the browser is told."""
