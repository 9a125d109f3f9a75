"""Every bundled task over invented rows: what it asks, in one hash, and whether its answers can be scored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from lmrun.backends.base import ModelSpec
from lmrun.bundled import demo_model_dir
from lmrun.code import TaskFunctions
from lmrun.data import DatasetSpec, DataSource
from lmrun.engine.catalog import task_catalog
from lmrun.engine.facts import scoring_spec
from lmrun.engine.plan import PlannedJob
from lmrun.engine.render import JobRenderer
from lmrun.engine.score import JobScorer
from lmrun.errors import LmrunError
from lmrun.manifest import TaskSetting
from lmrun.requests import canonical_json
from lmrun.scoring import aggregate, check_spec
from lmrun.store.records import AnsweredSample, SampleRecord
from lmrun.tasks import Entry, PromptSettings, Task, TaskConfig
from lmrun.tasks.python_task import build_task
from lmrun.testing.scripted import ScriptedBackend
from tests.library.mirror import fixture_folder, make_mirror
from tests.parity.data import dataset_of

SHOTS = (0, None, 1)
"""Zero-shot, as the task says, and one-shot; what comes to the same is asked once."""

ZERO_SHOT = ("agieval_*", "super_glue-wsc-t5-prompt")
"""Tasks that have no examples: their targets are no text, in lm-eval as here."""


METADATA = {"ruler": {"tokenizer": str(demo_model_dir()), "max_seq_lengths": [2000]}}
"""What a manifest has to say for the tasks of a family."""
CLASS_DATA = {"squadv2": DatasetSpec("lighteval/squad_v2")}
"""The data of class tasks, which only their code names."""


class Shipped:
    """The bundled tasks, with a mirror of the invented rows."""

    def __init__(self, mirror: Path) -> None:
        self.functions = TaskFunctions()
        self._mirror = mirror
        self._mirror.mkdir(exist_ok=True)
        self.catalog = task_catalog(())

    @cached_property
    def entries(self) -> dict[str, list[Entry]]:
        """By family all its tasks."""
        tasks = [entry for entry in self.catalog.entries() if entry.kind in ("task", "python")]
        by_family = groupby(sorted(tasks, key=_family), key=_family)
        return {family: list(entries) for family, entries in by_family}

    def configs(self, family: str) -> list[TaskConfig]:
        """The tasks of a family; the rows that there are for them are in the mirror then."""
        metadata, entries = METADATA.get(family), self.entries.get(family, ())
        found = [self.catalog.resolve(entry.name, metadata=metadata).tasks[0] for entry in entries]
        specs = [*map(dataset_of, found), CLASS_DATA.get(family)]
        make_mirror(filter(None, specs), self._mirror)
        return found

    def task(self, config: TaskConfig) -> Task:
        """A task over its rows. Raises :class:`~lmrun.errors.LmrunError` where it cannot be built."""
        return build_task(config, DataSource(self._mirror, offline=True), self.functions)

    def lacks_rows(self, config: TaskConfig) -> bool:
        """Whether there are no invented rows for a task, nor files of its own, nor code that makes its rows."""
        spec = dataset_of(config)
        if spec is None or fixture_folder(spec) is not None:
            return False
        files = (config.dataset_kwargs or {}).get("data_files", {})
        folder = config.source.parent if config.source else Path()
        return not files or not all((folder / str(file)).exists() for file in files.values())


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
    shots = SHOTS[:2] if any(fnmatchcase(task.name, pattern) for pattern in ZERO_SHOT) else SHOTS
    settings = {task.num_fewshot(made): made for made in (PromptSettings(num_fewshot=n) for n in shots)}
    for n, prompts in settings.items():
        setting = TaskSetting(task.name, num_fewshot=n)
        yield PlannedJob(f"{task.name}, {n}-shot", setting, task, prompts, None, spec, task.n_docs)


def score(task: Task) -> dict[str, Any]:
    """Score stub answers to the task as it stands. Raises :class:`~lmrun.errors.LmrunError` where that fails."""
    spec = scoring_spec(task)
    if wrong := check_spec(spec, task.functions):
        raise LmrunError(f"{task.name} cannot be scored", problems=tuple(wrong))
    job = PlannedJob(task.name, TaskSetting(task.name), task, PromptSettings(), None, spec, task.n_docs)
    backend = ScriptedBackend(ModelSpec("stub", "scripted", "stub"))
    scorer = JobScorer(spec, task.functions)
    for sample in JobRenderer(job, "stub").samples():
        outcome = scorer.outcome(_answered(sample, backend))
        if outcome.error:
            raise LmrunError(f"{task.name}, doc {sample.doc_id}: {outcome.error['message']}")
    results = aggregate(spec, scorer.values, bootstrap_iters=0, functions=task.functions)
    return {result.metric: result.value for result in results}


def _answered(sample: SampleRecord, backend: ScriptedBackend) -> AnsweredSample:
    by_position = groupby(sample.requests, key=lambda keyed: keyed[0])
    responses = [[backend.answer(request) for *_, request in repeats] for _, repeats in by_position]
    facts = (sample.doc_id, sample.doc_id, sample.doc, sample.target, sample.text, sample.choices)
    return AnsweredSample(*facts, responses, sample.error)
