"""Runs in a list, and one of them in detail."""
