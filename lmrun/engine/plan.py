"""From a manifest to what will run: models, their identities, and jobs with their tasks built and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from lmrun.backends.base import Backend, ModelIdentity, ModelSpec
from lmrun.backends.generation import PARAMETERS, normalise
from lmrun.backends.registry import backend_class
from lmrun.backends.tokenize import Unanswerable
from lmrun.engine.catalog import placed, select_tasks
from lmrun.engine.facts import scoring_as_json, scoring_spec, task_facts
from lmrun.engine.inputs import Sources
from lmrun.engine.labels import Labels, setting_as_json
from lmrun.errors import BackendError, DataError, LmrunError, Location, Problem, TaskError, did_you_mean
from lmrun.manifest import Manifest, ModelEntry, TaskSetting
from lmrun.requests import canonical_json
from lmrun.scoring import check_spec, unknown_golds, with_robust
from lmrun.scoring.spec import ScoringSpec
from lmrun.store.records import JobRecord
from lmrun.tasks import Group, PromptSettings, Task, TaskConfig, build_task

_DOCS_OF_A_FORM = 20
"""Docs whose targets decide which robust filter fits a task."""


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One task setting, to be run on every model."""

    label: str
    setting: TaskSetting
    task: Task
    prompts: PromptSettings
    limit: int | float | None
    scoring: ScoringSpec
    n_docs: int
    warnings: Sequence[str] = ()
    """What a user should know before quoting its numbers."""

    def record(self) -> JobRecord:
        """What is stored of the job."""
        return JobRecord(
            label=self.label,
            task=self.task.name,
            alias=self.task.alias or self.task.name,
            version=self.task.version,
            num_fewshot=self.task.num_fewshot(self.prompts),
            output_type=self.task.output_type,
            setting=setting_as_json(self.setting),
            config=self.task.config_with(self.prompts),
            scoring=scoring_as_json(self.scoring),
            task_hash=self.task.content_hash,
            datasets=self.task.dataset_fingerprints,
            n_docs_total=self.task.n_docs,
            n_docs=self.n_docs,
        )


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """A group and the jobs beneath it, by label."""

    label: str
    group: Group
    suffix: str
    """What tells this setting of the group from its others."""
    children: Sequence[str]
    """Labels of the jobs and groups directly beneath."""
    leaves: Sequence[str]
    """Labels of all jobs beneath."""

    def record(self) -> dict[str, Any]:
        """What is stored of the group."""
        return {
            "alias": self.group.alias or self.group.name,
            "suffix": self.suffix,
            "version": self.group.version,
            "children": list(self.children),
            "leaves": list(self.leaves),
            "aggregates": [asdict(aggregate) for aggregate in self.group.aggregates],
        }


class Make(Protocol):
    """Builds the backend of a model."""

    def __call__(self, state: Path | None = None) -> Backend:
        """The backend; in ``state`` it may keep what it has to find again after a restart of the run."""
        ...


@dataclass(slots=True)
class PlannedModel:
    """One model: who it is, or why it cannot be told."""

    spec: ModelSpec
    identity: ModelIdentity | None
    error: LmrunError | None
    make: Make


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that will run."""

    manifest: Manifest
    models: Sequence[PlannedModel]
    jobs: Sequence[PlannedJob]
    groups: Sequence[PlannedGroup]
    hash: str = field(default="")
    """Identity of the plan: manifest, model fingerprints, task and dataset hashes. Equal plans give equal numbers."""


def warnings_of(jobs: Sequence[PlannedJob], models: Sequence[PlannedModel]) -> list[str]:
    """What a user should know before the jobs run on the models, each once."""
    about_jobs = (text for job in jobs for text in job.warnings)
    about_room = (text for model in models for job in jobs for text in _no_room(model, job))
    return list(dict.fromkeys((*about_jobs, *about_room)))


def _no_room(model: PlannedModel, job: PlannedJob) -> Iterator[str]:
    """An answer may be as long as all that the model takes: then there is no room for any prompt."""
    length = model.identity.facts.get("max_length") if model.identity else None
    if not isinstance(length, int) or job.task.output_type != "generate_until":
        return
    with suppress(Unanswerable):
        longest = normalise(job.task.generation(job.prompts)).max_new_tokens
        if longest >= length:
            yield (
                f"{job.label}: answers may have {longest:,} tokens, and {model.spec.name} takes {length:,}, prompt "
                f"included: every doc will be an error; set generation = {{ max_gen_toks = … }} below {length:,}"
            )


def plan_jobs(
    settings: Sequence[TaskSetting], sources: Sources
) -> tuple[tuple[PlannedJob, ...], tuple[PlannedGroup, ...]]:
    """Resolve and build the tasks of a manifest.

    Raises:
        TaskError: with every task that is unknown, broken or lacks its data, all at once.
    """
    selected, problems = select_tasks(settings, sources.catalog)
    labels = Labels(selected)
    jobs: dict[str, PlannedJob] = {}
    groups: dict[str, PlannedGroup] = {}
    for setting, selection in selected:
        for config in selection.tasks:
            label = labels.label(config.task, setting)
            try:
                job = jobs.get(label) or plan_job(config, label, setting, sources)
                _refuse_namesake(job, config)
                jobs[label] = job
            except TaskError as error:
                problems.extend(placed(error, setting))
            except DataError as error:
                place = config.place("dataset_path")
                problems.extend(
                    placed(DataError(f"task {config.task!r}: {error.message}", hint=error.hint), setting, place)
                )
        for group in selection.groups:
            planned = _plan_group(group, setting, labels)
            groups.setdefault(planned.label, planned)
    if problems:
        raise TaskError("these tasks cannot run", problems=tuple(dict.fromkeys(problems)))
    return tuple(jobs.values()), tuple(groups.values())


def _refuse_namesake(job: PlannedJob, config: TaskConfig) -> None:
    """Two files may define tasks of one name; in one run, results could not tell them apart."""
    if job.task.task_config.content_hash != config.content_hash:
        problem = Problem(f"another task {config.task!r} is selected already", config.place("task"))
        raise TaskError(problem.message, problems=(problem,))


def _plan_group(group: Group, setting: TaskSetting, labels: Labels) -> PlannedGroup:
    return PlannedGroup(
        label=labels.label(group.name, setting),
        group=group,
        suffix=labels.suffix(group.name, setting),
        children=[labels.label(child, setting) for child in group.children],
        leaves=[labels.label(task, setting) for task in group.tasks],
    )


def plan_job(config: TaskConfig, label: str, setting: TaskSetting, sources: Sources) -> PlannedJob:
    """Build and check one task as a setting asks for it.

    Raises:
        TaskError: if the task cannot be rendered or scored.
        DataError: if its data is not there.
    """
    task = build_task(config, sources.data, sources.functions)
    prompts = PromptSettings(
        num_fewshot=setting.num_fewshot,
        apply_chat_template=setting.apply_chat_template,
        fewshot_as_multiturn=setting.apply_chat_template
        if setting.fewshot_as_multiturn is None
        else setting.fewshot_as_multiturn,
        system_instruction=setting.system_instruction,
        generation=setting.generation,
        compat=setting.compat,
        seed=setting.seed,
    )
    # The first doc is rendered now: a wrong column or template is found before a model is loaded.
    first = next(task.eval_docs(1))
    task.renderer(prompts).render(*first)
    scoring = _scoring(task, setting)
    if wrong := check_spec(scoring, task.functions):
        place = config.place("metric_list")
        raise TaskError(
            f"task {task.name!r} cannot be scored",
            problems=tuple(
                replace(p, location=p.location or place, message=f"{task.name}: {p.message}") for p in wrong
            ),
        )
    warnings = tuple(_warnings(task, prompts, scoring, first))
    if setting.robust and task.output_type == "generate_until" and scoring == scoring_spec(task):
        warnings += (f"{task.name}: no robust filter fits how it is scored; it has its own filters alone",)
    return PlannedJob(label, setting, task, prompts, setting.limit, scoring, task.doc_count(setting.limit), warnings)


def _scoring(task: Task, setting: TaskSetting) -> ScoringSpec:
    spec = scoring_spec(task)
    if not setting.robust:
        return spec
    docs = task.eval_docs(min(_DOCS_OF_A_FORM, task.n_docs))
    return with_robust(spec, [task_facts(task, *doc).target for doc in docs])


def _warnings(
    task: Task, prompts: PromptSettings, scoring: ScoringSpec, first: tuple[int, dict[str, Any]]
) -> Iterator[str]:
    if task.may_show_its_own_answer(prompts):
        yield (
            f"{task.name}: examples come from the evaluated split, and a doc can be among its own examples, as in "
            "lm-eval; name a fewshot_split to avoid it"
        )
    for name in task.generation(prompts).keys() - PARAMETERS:
        if near := did_you_mean(name, PARAMETERS, cutoff=0.75):
            yield f"{task.name}: no generation parameter is called {name!r}; {near}"
    facts = task_facts(task, *first)
    if unknown_golds(scoring, facts):
        yield (
            f"{task.name}: doc_to_target gives {facts.target!r} for doc 0, which is none of its choices; such docs "
            "count as wrong, as in lm-eval"
        )


def plan_models(entries: Sequence[ModelEntry], offline: bool) -> list[PlannedModel]:
    """Find out who every model is, without loading any. A model that cannot be found does not stop the others."""
    models = []
    for entry in entries:
        spec = ModelSpec(entry.name, entry.backend, entry.model, dict(entry.options), offline)
        models.append(_plan_model(spec, entry.location))
    return models


def _plan_model(spec: ModelSpec, place: Location | None) -> PlannedModel:
    def make(state: Path | None = None) -> Backend:
        return backend_class(spec.backend)(replace(spec, state=state))

    try:
        return PlannedModel(spec, make().identify(), None, make)
    except BackendError as error:
        return PlannedModel(spec, None, _placed(error, place), make)
    except Exception as error:  # noqa: BLE001 - a plug-in may raise anything; the other models are not to suffer
        return PlannedModel(spec, None, _placed(BackendError(f"{type(error).__name__}: {error}"), place), make)


def _placed(error: BackendError, place: Location | None) -> BackendError:
    """The error of a model with the entry of the manifest that it comes from."""
    if place is None or error.problems:
        return error
    problem = Problem(error.message, place, hint=error.hint)
    return BackendError(f"{place}: {error.message}", hint=error.hint, problems=(problem,))


def build_plan(manifest: Manifest, sources: Sources) -> Plan:
    """The whole plan of a manifest. Raises :class:`~lmrun.errors.TaskError`."""
    jobs, groups = plan_jobs(manifest.tasks, sources)
    models = plan_models(manifest.models, manifest.data.offline)
    return Plan(manifest, models, jobs, groups, _plan_hash(manifest, models, jobs))


def _plan_hash(manifest: Manifest, models: Sequence[PlannedModel], jobs: Sequence[PlannedJob]) -> str:
    parts: Mapping[str, Any] = {
        "name": manifest.name,
        "models": [(m.spec.name, m.spec.backend, m.identity.fingerprint if m.identity else None) for m in models],
        "jobs": [(j.label, setting_as_json(j.setting), j.task.content_hash, j.task.dataset_fingerprints) for j in jobs],
    }
    return hashlib.blake2b(canonical_json(parts).encode(), digest_size=16).hexdigest()
