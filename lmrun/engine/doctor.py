"""Look at the machine: what is there, what is missing, what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Literal

import lmrun
from lmrun import bundled
from lmrun.folders import cache_dir
from lmrun.store.connect import file_system, is_network

_OLDEST_SQLITE = (3, 38, 0)
"""The first with JSON functions always built in."""
_LITTLE_DISK = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    what: str
    state: Literal["ok", "missing", "broken"]
    """``missing`` is something optional."""
    found: str
    advice: str = ""


def examine(runs_dir: Path) -> list[Finding]:
    """Everything that is looked at, in reading order. Imports torch, if there is one, to ask it for devices."""
    return [*_python(), *_packages(), *_devices(), *_disk(runs_dir), *_bundle()]


def _python() -> Iterator[Finding]:
    yield Finding("lmrun", "ok", lmrun.__version__)
    yield Finding("Python", "ok", f"{platform.python_version()} on {platform.platform()}")
    version = tuple(map(int, sqlite3.sqlite_version.split(".")))
    if version < _OLDEST_SQLITE:
        yield Finding("SQLite", "broken", sqlite3.sqlite_version, "needs 3.38 or newer: use a newer Python build")
    else:
        yield Finding("SQLite", "ok", sqlite3.sqlite_version)


def _packages() -> Iterator[Finding]:
    for name, extra in (
        ("torch", "hf"),
        ("transformers", "hf"),
        ("accelerate", "hf"),
        ("peft", "peft"),
        ("bitsandbytes", "bitsandbytes"),
        ("gguf", "gguf"),
        ("datasets", ""),
        ("sacrebleu", "tasks"),
    ):
        try:
            yield Finding(name, "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            advice = f'pip install "lmrun[{extra}]"' if extra else "reinstall lmrun"
            yield Finding(name, "missing" if extra else "broken", "not installed", advice)


def _devices() -> Iterator[Finding]:
    if util.find_spec("torch") is None:
        return
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", "broken", f"does not import: {error}", "reinstall torch for this machine")
        return
    yield Finding("CPU", "ok", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            yield Finding(f"cuda:{index}", "ok", f"{name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free")
    elif torch.backends.mps.is_available():
        yield Finding("mps", "ok", "Apple GPU")
    else:
        yield Finding("GPU", "missing", "none that torch can use", 'device = "auto" uses the CPU')


def _disk(runs_dir: Path) -> Iterator[Finding]:
    for what, path in (("runs folder", runs_dir), ("cache folder", cache_dir())):
        existing = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
        free = shutil.disk_usage(existing).free
        found = f"{path} ({file_system(existing) or 'unknown file system'}, {free / 2**30:.0f} GiB free)"
        if not os.access(existing, os.W_OK):
            yield Finding(what, "broken", found, "not writable: choose another with --runs-dir or LMRUN_CACHE_DIR")
        elif is_network(existing):
            yield Finding(what, "ok", found, "a network disk: slower, and only one machine at a time may write a run")
        elif free < _LITTLE_DISK:
            yield Finding(what, "broken", found, "little space left")
        else:
            yield Finding(what, "ok", found)


def _bundle() -> Iterator[Finding]:
    tasks = sum(1 for _ in bundled.tasks_dir().rglob("*.yaml"))
    model = bundled.demo_model_dir() / "model.safetensors"
    whole = tasks > 0 and model.exists()
    found = f"{tasks} task files, demo model {'present' if model.exists() else 'missing'}"
    yield Finding("bundled files", "ok" if whole else "broken", found, "" if whole else "reinstall lmrun")
