"""lm-eval's side: run cases in its own Python, once, and keep the dumps."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from tests.parity.cases import Case

RUNNER = Path(__file__).with_name("lmeval_runner.py")
PYTHON = "LMRUN_LMEVAL_PYTHON"
MIRROR = "LMRUN_TEST_MIRROR"
CACHE = "LMRUN_PARITY_CACHE"

Dump: TypeAlias = dict[str, Any]


class Peer:
    """The real lm-eval over a mirror. Dumps are kept by everything that can change them, so a second run is fast."""

    def __init__(self, python: Path, mirror: Path, cache: Path | None = None) -> None:
        self.python = python
        self.mirror = mirror.resolve()
        default = os.environ.get(CACHE) or Path(tempfile.gettempdir()) / "lmrun-parity"
        self.cache = cache or Path(default)

    @classmethod
    def from_environment(cls) -> Peer | None:
        """The peer that the environment names, or None."""
        python, mirror = os.environ.get(PYTHON), os.environ.get(MIRROR)
        return cls(Path(python), Path(mirror)) if python and mirror else None

    @cached_property
    def version(self) -> str:
        """What lm-eval calls itself, and everything beside it that its numbers depend on."""
        names = ("lm_eval", "datasets", "torch", "transformers", "sacrebleu", "scikit-learn", "numpy")
        code = f"import importlib.metadata as m; print([m.version(n) for n in {names!r}])"
        done = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    @cached_property
    def _common(self) -> list[str]:
        manifest = (self.mirror / "MANIFEST.json").read_bytes()
        return [self.version, RUNNER.read_text(encoding="utf-8"), hashlib.sha256(manifest).hexdigest()]

    @cached_property
    def names(self) -> frozenset[str]:
        """Every task, group and tag that lm-eval has."""
        path = self.cache / f"names-{_digest(self._common)}.json"
        if not path.is_file():
            self._run({"names": str(path), "cases": []})
        return frozenset(json.loads(path.read_text(encoding="utf-8")))

    def dumps(self, cases: Sequence[Case]) -> dict[Case, Dump]:
        """The dump of every case; those that are not kept yet are made in one process."""
        paths = {case: self._path(case) for case in cases}
        missing = [case for case, path in paths.items() if not path.is_file()]
        if missing:
            self._run({"cases": [{**case.plan(), "out": str(paths[case])} for case in missing]})
        return {case: _read(path) for case, path in paths.items()}

    def _path(self, case: Case) -> Path:
        parts = [*self._common, json.dumps(case.plan(), sort_keys=True)]
        if case.include_path:
            parts += _contents(sorted(case.include_path.rglob("*.yaml")))
        if case.model != "stub":
            parts += _contents(sorted(p for p in Path(case.model).iterdir() if p.is_file()))
        return self.cache / f"{case.task[:40]}-{_digest(parts)}.json.gz"

    def _run(self, plan: dict[str, Any]) -> None:
        self.cache.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "HF_DATASETS_CACHE": str(self.cache / "datasets"),
            "PYTHONPATH": "",
            "PYTHONHASHSEED": "0",
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "plan.json"
            path.write_text(json.dumps({"mirror": str(self.mirror), **plan}))
            command = [self.python, RUNNER, path]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"lm-eval's process ended with {done.returncode}:\n{done.stderr[-4000:]}")


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _contents(paths: Iterable[Path]) -> list[str]:
    return [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths]


def _read(path: Path) -> Dump:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        dump: Dump = json.load(file)
    return dump
