"""Tests of the course's own tools."""
