"""A small task, a scripted model, and a way to run a manifest as `lmrun batch` does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lmrun.engine.inputs import Overrides, open_manifest, open_sources
from lmrun.engine.plan import build_plan
from lmrun.engine.progress import Tracker
from lmrun.engine.results import result_rows
from lmrun.engine.run import Outcome, execute
from lmrun.errors import ExitCode
from lmrun.store.reader import RunReader

TASK = """
task: colours
dataset_path: json
dataset_kwargs: {data_files: {test: colours.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "Q: {{question}}\\nA:"
doc_to_choice: [red, green, blue]
doc_to_target: answer
metric_list: [{metric: acc}]
metadata: {version: 1.0}
"""
SPEECH = """
task: speech
dataset_path: json
dataset_kwargs: {data_files: {test: colours.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "Say: {{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8}
filter_list:
  - name: number
    filter: [{function: regex, regex_pattern: "(\\\\d+)"}, {function: take_first}]
metric_list: [{metric: exact_match}]
"""


@dataclass(frozen=True)
class World:
    """A folder with tasks and manifests, and one place for runs and cache."""

    folder: Path

    def manifest(self, *models: str, tasks: str = '[[tasks]]\nname = "colours"\n') -> Path:
        """Write a manifest with these ``[[models]]`` tables."""
        path = self.folder / "m.toml"
        tables = "".join(f"[[models]]\n{model}\n" for model in models)
        path.write_text(f'{tables}{tasks}\n[tasks_path]\npaths = ["tasks"]\n')
        return path

    def stub(self, name: str = "stub", **options: object) -> str:
        """A scripted model's table; every request that it is asked goes to ``calls.txt``."""
        options.setdefault("calls", str(self.folder / "calls.txt"))
        body = ", ".join(f"{key} = {json.dumps(value)}" for key, value in options.items())
        return f'name = "{name}"\nbackend = "scripted"\nmodel = "{name}"\noptions = {{ {body} }}'

    def run(self, manifest: Path, *, fresh: bool = False, cache: bool = True, **overrides: Any) -> Outcome:
        """Run a manifest as the command does."""
        loaded = open_manifest(str(manifest), Overrides(runs_dir=self.folder / "runs", **overrides))
        plan = build_plan(loaded, open_sources(loaded))
        return execute(plan, cache=loaded.run.cache if cache else None, fresh=fresh, tracker=Tracker())

    def calls(self) -> list[str]:
        """Keys of all requests that were asked so far."""
        path = self.folder / "calls.txt"
        return path.read_text().split() if path.exists() else []

    def scores(self, outcome: Outcome) -> dict[tuple[str, str, str], Any]:
        """(model, job, metric) → value."""
        reader = RunReader(outcome.directory)
        rows = {(row.model, row.label, row.metric): row.value for row in result_rows(reader) if row.n}
        reader.close()
        return rows


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A fresh folder with two tasks of ten docs."""
    monkeypatch.setenv("LMRUN_CACHE_DIR", str(tmp_path / "derived"))
    monkeypatch.chdir(tmp_path)
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    docs = [{"question": f"colour {i}?", "answer": i % 3} for i in range(10)]
    (tasks / "colours.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    (tasks / "colours.yaml").write_text(TASK)
    (tasks / "speech.yaml").write_text(SPEECH)
    return World(tmp_path)


def complete(outcome: Outcome) -> bool:
    """Whether a run ended with everything answered."""
    return outcome.exit_code is ExitCode.COMPLETE
