"""A task from a few lines of YAML, over rows that stand in the test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

from lmrun.code import TaskFunctions
from lmrun.data import DatasetSpec, DataSource
from lmrun.errors import DataError, TaskError
from lmrun.requests import Request, context_as_json
from lmrun.tasks import PromptSettings, Task
from lmrun.tasks.config import TaskConfig, task_config
from lmrun.tasks.yaml import load_yaml

Row = dict[str, Any]


class Rows:
    """A split in memory that notes which rows were asked for."""

    revision: str | None = None

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = list(rows)
        self.columns: tuple[str, ...] = tuple(dict.fromkeys(c for row in rows for c in row))
        self.fingerprint = f"{len(self._rows)} rows"
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int, /) -> Row:
        self.asked.append(index)
        return dict(self._rows[index])

    def __iter__(self) -> Iterator[Row]:
        return map(dict, self._rows)


class FakeData(DataSource):
    """A dataset whose splits are given as rows; it notes what was loaded."""

    def __init__(self, **splits: Sequence[Row]) -> None:
        super().__init__(offline=True)
        self.rows = {name: Rows(rows) for name, rows in splits.items()}
        self.loaded: list[str] = []
        self.specs: list[DatasetSpec] = []

    def splits(self, spec: DatasetSpec) -> tuple[str, ...]:
        return tuple(self.rows)

    def load(self, spec: DatasetSpec, split: str) -> Any:
        self.loaded.append(split)
        self.specs.append(spec)
        if split not in self.rows:
            raise DataError(f"no split {split!r}")
        return self.rows[split]


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files, with the common indentation of their text removed."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")


def config(folder: Path, text: str, name: str = "t.yaml") -> TaskConfig:
    """The configuration that a file with this text gives."""
    write(folder, {name: text})
    path = folder / name
    return task_config(load_yaml(path), path)


QA = """
task: qa
dataset_path: some/dataset
test_split: test
output_type: generate_until
doc_to_text: "{{q}}"
doc_to_target: "{{a}}"
"""


def task(folder: Path, text: str = "", base: str = QA, **splits: Sequence[Row]) -> Task:
    """A task of ``base`` with the keys of ``text`` added (a later key wins in YAML)."""
    data = FakeData(**(splits or {"test": qa_rows(12)}))
    return Task(config(folder, dedent(base).lstrip("\n") + dedent(text)), data, TaskFunctions())


def qa_rows(n: int, prefix: str = "") -> list[Row]:
    """Rows with a question, an answer and an id."""
    return [{"q": f"{prefix}Q{i}?", "a": f"{prefix}a{i}", "id": i} for i in range(n)]


def requests(of: Task, settings: PromptSettings | None = None, limit: int | None = None) -> list[tuple[Request, ...]]:
    """The requests of every doc."""
    renderer = of.renderer(settings or PromptSettings())
    return [renderer.render(doc_id, doc) for doc_id, doc in of.eval_docs(limit)]


def prompts(of: Task, settings: PromptSettings | None = None, limit: int | None = None) -> list[Any]:
    """The context of the first request of every doc, as JSON."""
    return [context_as_json(asked[0].context) for asked in requests(of, settings, limit)]


def told(error: TaskError) -> str:
    """Everything that the user reads: message, problems, hint."""
    return "\n".join([error.message, *map(str, error.problems), error.hint or ""])
