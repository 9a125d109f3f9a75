"""Manifests that can be found from here, and what lmrun says of one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lmrun import bundled
from lmrun.store.runs import all_runs

_SIGNS = re.compile(r"^\s*(\[\[?\s*(models|tasks)\b|(models|tasks|include)\s*=)", re.MULTILINE)
"""What a manifest holds, and other TOML files do not."""
_LONGEST = 1_000_000
"""Bytes; no manifest is longer."""
_RUNS, _RECENT = 200, 10
"""So many runs are looked through for so many manifests."""


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest."""

    path: Path
    name: str
    where: str
    """``here``, a folder, ``bundled`` or ``run <id>``."""
    own: bool = True
    """The user may edit it; a bundled one and that of a run stay as they are."""


def find_manifests(runs_dir: Path, named: Path | None) -> list[Found]:
    """The one that was named, those in the working folder and its ``configs``, bundled ones, those of recent runs."""
    folders = ((Path(), "here"), (Path("configs"), "configs"), (bundled.configs_dir(), "bundled"))
    found = {named.resolve(): _named(named)} if named else {}
    for folder, where in folders:
        for path in _in(folder):
            found.setdefault(path.resolve(), Found(path, path.stem, where, own=where != "bundled"))
    return [*found.values(), *_of_runs(runs_dir)]


def _named(path: Path) -> Found:
    folder = path.resolve().parent
    where = {bundled.configs_dir().resolve(): "bundled", Path.cwd(): "here"}.get(folder, str(path.parent))
    return Found(path, path.stem, where, own=where != "bundled")


def _in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.toml")) if _is_manifest(path)]


def _is_manifest(path: Path) -> bool:
    try:
        return path.stat().st_size < _LONGEST and bool(_SIGNS.search(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        return False


def _of_runs(runs_dir: Path) -> Iterator[Found]:
    newest: dict[str, Found] = {}
    for run in islice(all_runs(runs_dir), _RUNS):
        if run.manifest.is_file():
            found = Found(run.manifest, run.id[16:-5], f"run {run.id}", own=False)
            newest.setdefault(found.name, found)
    yield from islice(newest.values(), _RECENT)


def near(path: str | Path) -> str:
    """A path as it is written from the working folder, if it lies below."""
    path = Path(path)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def read_lines(path: Path) -> list[str]:
    """The text of a manifest; why it cannot be read where it cannot."""
    try:
        return path.read_bytes()[:_LONGEST].decode("utf-8", "replace").splitlines()
    except OSError as error:
        return [f"# {error.strerror}"]


@dataclass(frozen=True, slots=True)
class Line:
    """One job of one model: with its counts, once they are known."""

    model: str
    task: str
    docs: int
    counts: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """What ``lmrun validate`` and ``lmrun plan`` say."""

    problems: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = ()
    lines: Sequence[Line] = ()
    total: Mapping[str, Any] | None = None
    """Counts of all lines together."""
    remarks: Sequence[str] = ()
    """On prices and on the budget."""

    def wrong_lines(self, path: Path) -> frozenset[int]:
        """Numbers of the lines of this very file that have problems."""
        here = {str(path), str(path.absolute()), str(path.resolve())}
        return frozenset(p["line"] for p in self.problems if p.get("file") in here and p.get("line"))


def from_validate(answer: Mapping[str, Any] | None, words: str) -> Checked:
    """What ``lmrun validate --json`` has printed."""
    if answer is None:
        return Checked([{"message": words.strip() or "the check has failed without a word"}])
    models, jobs = answer["models"], answer["jobs"]
    lines = [Line(model["name"], job["task"], job["docs"]) for model in models for job in jobs]
    return Checked(answer["problems"], answer["warnings"], lines)


def from_plan(answer: Mapping[str, Any] | None, words: str, warnings: Sequence[str]) -> Checked:
    """What ``lmrun plan --json`` has printed."""
    if answer is None:
        return Checked([{"message": words.strip() or "the plan has failed without a word"}], warnings)
    lines = [Line(job["model"], job["label"], job["docs"], job) for job in answer["jobs"]]
    errors = [{"message": f"model {m['model']}: {m['error']}"} for m in answer["models"] if m["error"]]
    remarks = [f"{m['model']}: prompt tokens {m['method']}" for m in answer["models"] if not m["error"]]
    return Checked(errors, warnings, lines, answer["total"], [*remarks, *answer["budget"]["verdict"]])
