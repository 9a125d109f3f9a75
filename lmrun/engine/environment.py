"""What a run was made with, for ``lock.json``: found without importing anything heavy."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import lmrun

_PACKAGES = (
    "accelerate datasets jinja2 numpy pyarrow pyyaml sacrebleu safetensors scikit-learn tokenizers torch transformers"
).split()


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that can change a number."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_commit(folder: Path) -> str | None:
    """Commit of the checkout that holds ``folder``, with ``+changes`` if files differ from it; None outside one."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def environment() -> dict[str, Any]:
    """Versions and machine, JSON values."""
    return {
        "lmrun": lmrun.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(),
        "git_commit": git_commit(Path.cwd()),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }
