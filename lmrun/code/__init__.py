"""The Python code that tasks name with ``!function``: finding it, and running it where it can do no harm."""

from lmrun.code.functions import TaskFunctions

__all__ = ["TaskFunctions"]
