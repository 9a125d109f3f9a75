"""Models that transformers loads, on this machine. Importing this imports neither torch nor transformers."""

from lmrun.backends.hf.backend import HfBackend

__all__ = ["HfBackend"]
