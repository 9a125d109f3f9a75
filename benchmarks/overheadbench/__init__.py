"""How processor time is told apart by phases of a run."""
