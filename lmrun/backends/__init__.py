"""Backends: each answers requests with one model behind one way of asking it."""
