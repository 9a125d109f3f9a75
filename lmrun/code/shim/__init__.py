"""What code of lm-eval's task files imports from ``lm_eval``, so that it runs where lm-eval is not installed.

Where lm-eval is installed these modules still take the place of its own: the code of a task is then the same
everywhere, and no torch is imported for it. Modules that are not here, and names that these lack, are lm-eval's.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from lmrun.code.loading import load_file

_MODULES = {
    "lm_eval.utils": "utils",
    "lm_eval.api.filter": "filters",
    "lm_eval.api.instance": "instance",
    "lm_eval.api.metrics": "metrics",
    "lm_eval.api.registry": "registry",
    "lm_eval.api.task": "task",
    "lm_eval.filters.extraction": "filters",
}


def install(installed: Path | None) -> None:
    """Make these modules importable under lm-eval's names. ``installed`` is the folder of the installed lm-eval."""
    for package in ("lm_eval", "lm_eval.api", "lm_eval.filters"):
        _add(package, _package(package, installed))
    for name, ours in _MODULES.items():
        _add(name, _stand_in(name, import_module(f"{__name__}.{ours}"), installed))


def _add(name: str, module: ModuleType) -> None:
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def _file(name: str, installed: Path | None) -> Path | None:
    return None if installed is None else installed.joinpath(*name.split(".")[1:])


def _package(name: str, installed: Path | None) -> ModuleType:
    package = ModuleType(name, f"Stands in for {name}.")
    folder = _file(name, installed)
    package.__path__ = [str(folder)] if folder else []
    return package


def _stand_in(name: str, ours: ModuleType, installed: Path | None) -> ModuleType:
    """A module with our names, and lm-eval's own for the rest."""
    module = ModuleType(name, ours.__doc__)
    module.__dict__.update({key: value for key, value in vars(ours).items() if not key.startswith("_")})

    def missing(attribute: str) -> Any:
        file = _file(name, installed)
        if attribute.startswith("__") or file is None:
            raise AttributeError(
                f"lmrun's stand-in for {name} has no {attribute!r}; with lm-eval installed it is there"
            )
        return getattr(load_file(f"{name}__installed", file.with_suffix(".py")), attribute)

    module.__dict__["__getattr__"] = missing
    return module
