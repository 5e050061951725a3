"""Tests in a real browser: what a person at a step's pages sees, and what the browser is told."""
