"""Parts of ``benchmarks/tui.py``."""
