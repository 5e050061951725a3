"""The commands for learners and instructors: run, test, diff."""
