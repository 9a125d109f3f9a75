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

from filelock import FileLock

from tests.parity.cases import REPLIES, Case

RUNNER = Path(__file__).with_name("lmeval_runner.py")
PYTHON = "LMRUN_LMEVAL_PYTHON"
MIRROR = "LMRUN_TEST_MIRROR"
CACHE = "LMRUN_PARITY_CACHE"
NOT_IN_MIRROR = "not in mirror"
"""Part of the error of a case whose data is not there."""
CASES_PER_PROCESS = 400
"""lm-eval starts slowly, and its memory grows with every task."""

Dump: TypeAlias = dict[str, Any]


class Peer:
    """The real lm-eval over a mirror. Dumps are kept by everything that can change them, so a second run is fast."""

    def __init__(self, python: Path, mirror: Path, cache: Path | None = None) -> None:
        self.python = python
        self.mirror = mirror.resolve()
        default = os.environ.get(CACHE) or Path(tempfile.gettempdir()) / "lmrun-parity"
        self.cache = cache or Path(default)

    @classmethod
    def from_environment(cls, mirror: Path | None = None) -> Peer | None:
        """The peer that the environment names, or None. ``mirror`` replaces the mirror that it names."""
        python, folder = os.environ.get(PYTHON), mirror or os.environ.get(MIRROR)
        return cls(Path(python), Path(folder)) if python and folder else None

    @cached_property
    def tasks_folder(self) -> Path:
        """lm-eval's own task files."""
        code = "import importlib.util as u; print(u.find_spec('lm_eval').submodule_search_locations[0])"
        return Path(self._said(code)) / "tasks"

    @property
    def packages(self) -> list[str]:
        """Where the packages of lm-eval's environment are, for lmrun to run the code of lm-eval's tasks with."""
        return [str(self.tasks_folder.parents[1])]

    @cached_property
    def version(self) -> str:
        """What lm-eval calls itself, and everything beside it that its numbers depend on."""
        names = ("lm_eval", "datasets", "torch", "transformers", "sacrebleu", "scikit-learn", "numpy")
        code = f"import importlib.metadata as m; print([m.version(n) for n in {names!r}])"
        return self._said(code)

    @cached_property
    def transformers(self) -> str:
        """The version of transformers beside it."""
        return self._said("import importlib.metadata as m; print(m.version('transformers'))")

    def _said(self, code: str) -> str:
        """What a line of Python prints there."""
        done = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    @cached_property
    def _common(self) -> list[str]:
        return [self.version, RUNNER.read_text(encoding="utf-8"), str(self.mirror), *REPLIES]

    @cached_property
    def _checksums(self) -> dict[str, str]:
        manifest = json.loads((self.mirror / "MANIFEST.json").read_text(encoding="utf-8"))
        splits = (facts for row in manifest["datasets"] for facts in row["splits"].values())
        return {facts["file"]: facts["sha256"] for facts in splits}

    @cached_property
    def names(self) -> frozenset[str]:
        """Every task, group and tag that lm-eval has."""
        path = self.cache / f"names-{_digest(self._common)}.json"
        if not path.is_file():
            self._run({"names": str(path), "cases": []})
        return frozenset(json.loads(path.read_text(encoding="utf-8")))

    def dumps(self, cases: Sequence[Case]) -> dict[Case, Dump]:
        """The dump of every case; those that are not kept yet, or whose data has changed, are made now."""
        paths = {case: self._path(case) for case in cases}
        found = {case: dump for case, path in paths.items() if (dump := self._kept(path))}
        missing = [case for case in cases if case not in found]
        for start in range(0, len(missing), CASES_PER_PROCESS):
            some = missing[start : start + CASES_PER_PROCESS]
            self._run({"cases": [{**case.plan(), "out": str(paths[case])} for case in some]})
            found.update((case, _read(paths[case])) for case in some)
        return {case: found[case] for case in cases}

    def _kept(self, path: Path) -> Dump | None:
        dump = _read(path) if path.is_file() else None
        if dump is None or any(self._checksums.get(file) != sha256 for file, sha256 in dump["data"].items()):
            return None
        lacked_data = NOT_IN_MIRROR in dump.get("error", "")
        return None if lacked_data else dump

    def _path(self, case: Case) -> Path:
        parts = [*self._common, json.dumps(case.plan(), sort_keys=True)]
        if case.include_path:
            parts += _contents(sorted(case.include_path.rglob("*.yaml")))
        if case.model != "stub":
            parts += _contents(sorted(p for p in Path(case.model).iterdir() if p.is_file()))
        return self.cache / f"{case.task[:40]}-{_digest(parts)}.json.gz"

    def _run(self, plan: dict[str, Any]) -> None:
        # lm-eval's own cache of processed docs is emptied while it runs, so it belongs to one process at a time.
        datasets = self.cache / f"datasets-{_digest([str(self.mirror)])}"
        datasets.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "HF_DATASETS_CACHE": str(datasets),
            "PYTHONPATH": "",
            "PYTHONHASHSEED": "0",
        }
        with FileLock(datasets / ".lock"), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "plan.json"
            path.write_text(json.dumps({"mirror": str(self.mirror), "replies": REPLIES, **plan}))
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
