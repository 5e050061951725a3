"""What maintainers call: propagate, redgreen, guarantees, upgrade, lint."""
