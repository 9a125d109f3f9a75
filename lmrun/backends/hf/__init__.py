"""Models that transformers loads, on this machine. Importing this imports neither torch nor transformers."""

from lmrun.backends.hf.backend import HfBackend
from lmrun.backends.hf.replicas import hf_backend

__all__ = ["HfBackend", "hf_backend"]
