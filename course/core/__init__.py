"""The foundation of the other packages: steps, parts, environments, processes, ports, output."""
