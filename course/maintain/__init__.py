"""The commands for maintainers: drift, propagate, redgreen, guarantees, upgrade, lint."""
