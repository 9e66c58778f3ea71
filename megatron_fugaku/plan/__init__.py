"""How a run fits its machine: rank matrix, torus placement, memory. Pure arithmetic on numpy and integers."""
