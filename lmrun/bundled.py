"""Where the files that travel with lmrun are: tasks, configs and the demo model.

In a checkout (or an editable install) tasks and configs are the top-level folders; in a wheel they are package data.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    packaged = _PACKAGE / "_bundled" / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name


def tasks_dir() -> Path:
    """Folder of the bundled task YAMLs."""
    return _folder("tasks")


def configs_dir() -> Path:
    """Folder of the bundled manifests."""
    return _folder("configs")


def demo_model_dir() -> Path:
    """Folder of the bundled demo model, in the layout of ``save_pretrained``."""
    return _PACKAGE / "demo" / "model"
