"""What learners and instructors call: run, test, diff."""
