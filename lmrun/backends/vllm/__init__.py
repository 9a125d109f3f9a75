"""Models behind vLLM's engine, on this machine. Importing this imports neither vllm nor torch."""

from lmrun.backends.vllm.backend import VllmBackend

__all__ = ["VllmBackend"]
