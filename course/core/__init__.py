"""What the other packages share: steps, parts, environments, processes, output."""
