"""Models on this machine: what is run, by which programs, and how it is counted."""
