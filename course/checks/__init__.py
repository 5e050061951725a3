"""The tests of the course: its tools, its pages in a browser, its production stack."""
