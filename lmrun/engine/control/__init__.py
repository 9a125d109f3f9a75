"""How a running engine is watched and steered by other processes: JSON lines over a unix socket of the run."""
