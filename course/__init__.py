"""What makes five step folders one course: the tools behind `make`, and their tests."""
