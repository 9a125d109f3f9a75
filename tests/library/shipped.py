"""Every bundled task over invented rows: what it asks, in one hash, and whether its answers can be scored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from lmrun.backends.base import ModelSpec
from lmrun.code import TaskFunctions
from lmrun.data import DataSource
from lmrun.engine.catalog import task_catalog
from lmrun.engine.facts import scoring_spec
from lmrun.engine.plan import PlannedJob
from lmrun.engine.render import JobRenderer
from lmrun.engine.score import JobScorer
from lmrun.errors import LmrunError, Problem
from lmrun.manifest import TaskSetting
from lmrun.requests import canonical_json
from lmrun.scoring import aggregate, check_spec
from lmrun.store.records import AnsweredSample, SampleRecord
from lmrun.tasks import Entry, PromptSettings, Task
from lmrun.testing.scripted import ScriptedBackend
from tests.library.mirror import fixture_folder, make_mirror

SHOTS = (0, None, 1)
"""Zero-shot, as the task says, and one-shot; what comes to the same is asked once."""


class Shipped:
    """The bundled tasks, with a mirror of the invented rows."""

    def __init__(self, mirror: Path) -> None:
        self.functions = TaskFunctions()
        self._mirror = mirror
        self.catalog = task_catalog(())

    @cached_property
    def entries(self) -> dict[str, list[Entry]]:
        """By family all its tasks."""
        tasks = [entry for entry in self.catalog.entries() if entry.kind in ("task", "python")]
        by_family = groupby(sorted(tasks, key=_family), key=_family)
        return {family: list(entries) for family, entries in by_family}

    def tasks(self, family: str) -> Iterator[Task]:
        """The tasks of a family, with the rows that there are for them."""
        made = set()
        for entry in self.entries[family]:
            (config,) = self.catalog.resolve(entry.name).tasks
            task = Task(config, DataSource(offline=True), self.functions)
            if config.custom_dataset is None and task.dataset.key not in made:
                made.add(task.dataset.key)
                make_mirror([task.dataset], self._mirror)
            yield Task(config, self.data, self.functions)

    @cached_property
    def data(self) -> DataSource:
        """The mirror; what it lacks is not looked for elsewhere."""
        self._mirror.mkdir(parents=True, exist_ok=True)
        return DataSource(self._mirror, offline=True)

    def has_rows(self, task: Task) -> bool:
        """Whether there are rows for a task: invented ones, its own data files, or rows that its code makes."""
        if task.task_config.custom_dataset is not None:
            return True
        try:
            return fixture_folder(task.dataset) is not None or self.data.is_local(task.dataset)
        except LmrunError:
            return False


def _family(entry: Entry) -> str:
    return entry.family or ""


@dataclass(frozen=True)
class Pin:
    """What is kept of a task: its version, and the hash of all that it asks over the invented rows."""

    version: Any
    hash: str


def pin_of(task: Task) -> Pin:
    """Render a task in every setting. Raises :class:`~lmrun.errors.LmrunError` for a doc that cannot be rendered."""
    asked = []
    own = task.num_fewshot(PromptSettings())
    for job in _jobs(task):
        shots = task.num_fewshot(job.prompts)
        try:
            asked.append([shots, _hash(job)])
        except LmrunError:
            if shots in (0, own):
                raise
            asked.append([shots, None])  # some protocols have no examples to show
    digest = hashlib.blake2b(canonical_json(asked).encode(), digest_size=8)
    return Pin(task.version, digest.hexdigest())


def _hash(job: PlannedJob) -> str:
    renderer = JobRenderer(job, "stub")
    for sample in renderer.samples():
        if sample.error:
            raise LmrunError(f"{job.label}, doc {sample.doc_id}: {sample.error['message']}")
    return renderer.prompt_hash


def _jobs(task: Task) -> Iterator[PlannedJob]:
    spec = scoring_spec(task)
    settings = {task.num_fewshot(made): made for made in (PromptSettings(num_fewshot=shots) for shots in SHOTS)}
    for shots, prompts in settings.items():
        setting = TaskSetting(task.name, num_fewshot=shots)
        yield PlannedJob(f"{task.name}, {shots}-shot", setting, task, prompts, None, spec, task.n_docs)


def score(task: Task) -> dict[str, Any]:
    """Score stub answers to the task as it stands. Raises :class:`~lmrun.errors.LmrunError` where that fails."""
    spec = scoring_spec(task)
    if wrong := check_spec(spec, task.functions):
        raise _error(task, wrong)
    job = PlannedJob(task.name, TaskSetting(task.name), task, PromptSettings(), None, spec, task.n_docs)
    backend = ScriptedBackend(ModelSpec("stub", "scripted", "stub"))
    scorer = JobScorer(spec, task.functions)
    for sample in JobRenderer(job, "stub").samples():
        outcome = scorer.outcome(_answered(sample, backend))
        if outcome.error:
            raise LmrunError(f"{task.name}, doc {sample.doc_id}: {outcome.error['message']}")
    results = aggregate(spec, scorer.values, bootstrap_iters=0, functions=task.functions)
    return {result.metric: result.value for result in results}


def _error(task: Task, problems: tuple[Problem, ...]) -> LmrunError:
    return LmrunError(f"{task.name} cannot be scored", problems=problems)


def _answered(sample: SampleRecord, backend: ScriptedBackend) -> AnsweredSample:
    by_position = groupby(sample.requests, key=lambda keyed: keyed[0])
    responses = [[backend.answer(request) for *_, request in repeats] for _, repeats in by_position]
    facts = (sample.doc_id, sample.doc_id, sample.doc, sample.target, sample.text, sample.choices)
    return AnsweredSample(*facts, responses, sample.error)
