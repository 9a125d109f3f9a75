"""What ``benchmarks/api.py`` is made of."""
