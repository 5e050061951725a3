"""The modules that a step's own process loads when it is traced; no step knows of them."""
