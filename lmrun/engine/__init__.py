"""From a plan to a scored run."""
