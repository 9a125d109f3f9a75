"""Two sides next to each other."""
