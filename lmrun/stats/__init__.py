"""Statistics of evaluations: intervals and tests."""
