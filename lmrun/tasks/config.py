"""The configuration of one task: typed, checked and with its defaults filled in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from lmrun.errors import Location, Problem, TaskError, did_you_mean
from lmrun.functions import FunctionRef
from lmrun.requests import canonical_json
from lmrun.tasks.problems import listing
from lmrun.tasks.yaml import YamlMapping

OutputType = Literal["loglikelihood", "loglikelihood_rolling", "multiple_choice", "generate_until"]
OUTPUT_TYPES: tuple[OutputType, ...] = get_args(OutputType)


@dataclass(frozen=True, slots=True, kw_only=True)
class FewshotConfig:
    """How the examples of a prompt are chosen and written. What a task file leaves out is inherited from the task."""

    sampler: Any = "default"
    split: str | None = None
    process_docs: Any = None
    fewshot_indices: Any = None
    """Accepted, without effect, as in lm-eval."""
    samples: Any = None
    doc_to_text: Any = None
    doc_to_choice: Any = None
    doc_to_target: Any = None
    gen_prefix: Any = None
    fewshot_delimiter: str = "\n\n"
    target_delimiter: str = " "


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskConfig:
    """Every key that a task file may state, with the names and the order that lm-eval gives them."""

    task: str
    task_alias: str | None = None
    custom_dataset: Any = None
    dataset_path: str | None = None
    dataset_name: str | None = None
    dataset_kwargs: Mapping[str, Any] | None = None
    training_split: str | None = None
    validation_split: str | None = None
    test_split: str | None = None
    fewshot_split: str | None = None
    process_docs: Any = None
    doc_to_text: Any = None
    doc_to_target: Any = None
    doc_to_image: Any = None
    doc_to_audio: Any = None
    unsafe_code: Any = False
    doc_to_choice: Any = None
    process_results: Any = None
    use_prompt: str | None = None
    description: str | None = ""
    target_delimiter: str = " "
    fewshot_delimiter: str = "\n\n"
    fewshot_config: FewshotConfig = field(default_factory=FewshotConfig)
    num_fewshot: int | None = None
    metric_list: list[dict[str, Any]] | None = None
    output_type: OutputType = "generate_until"
    generation_kwargs: Mapping[str, Any] | None = None
    repeats: int = 1
    filter_list: list[dict[str, Any]] | None = None
    should_decontaminate: Any = False
    doc_to_decontamination_query: Any = None
    gen_prefix: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    python_class: FunctionRef | None = None
    """The ``class`` of a task that is Python code; its other keys are not checked."""
    source: Path | None = None
    """The task's own file; None for a task that stands inside a group."""
    places: Mapping[str, Location] = field(default_factory=dict, compare=False)
    fewshot_keys: frozenset[str] = frozenset()
    """The keys that ``fewshot_config`` itself states."""

    def place(self, key: str) -> Location | None:
        """Where a key was written, which may be an included file; else the task's own file."""
        return self.places.get(key) or (Location(self.source) if self.source else None)

    def fewshot_place(self, key: str) -> Location | None:
        """Where a key of ``fewshot_config`` was written, or the key of the task that it is inherited from."""
        if key in self.fewshot_keys:
            return self.place("fewshot_config")
        return self.place("fewshot_split" if key == "split" else key)

    def as_json(self) -> dict[str, Any]:
        """The configuration as JSON values, without nulls, as results record it."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_KEYS}
        found["fewshot_config"] = {f.name: getattr(self.fewshot_config, f.name) for f in fields(FewshotConfig)}
        return {key: as_json(value) for key, value in found.items() if value is not None}

    @property
    def content_hash(self) -> str:
        """32 hex digits over what the configuration says; its alias and the place of its files are no part of it."""
        if self.python_class:
            content: dict[str, Any] = {"metadata": {}, "class_config": self.python_class.config}
        else:
            content = self.as_json()
        content.pop("task_alias", None)
        content["metadata"] = {k: v for k, v in content["metadata"].items() if k != "config_source"}
        content["class"] = as_json(self.python_class)
        return hashlib.blake2b(canonical_json(content).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


_NOT_KEYS = frozenset({"python_class", "source", "places", "fewshot_keys"})
_DROPPED = ("tag", "group", "task_list")
_TASK_KEYS = tuple(f.name for f in fields(TaskConfig) if f.name not in _NOT_KEYS)
_FEWSHOT_KEYS = tuple(f.name for f in fields(FewshotConfig))


def as_json(value: Any) -> Any:
    """A value of a task file as JSON; what JSON cannot say (a function, a date) becomes text."""
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


# -- checks ----------------------------------------------------------------------------------------


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_metric_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(m, dict) and m.get("metric") is not None for m in value)


def _is_filter(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and isinstance(value.get("filter"), list)
        and all(isinstance(step, dict) and step.get("function") is not None for step in value["filter"])
    )


def _one_of(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types)


_Check = tuple[Callable[[Any], bool], str]
_TEXT: _Check = (_one_of(str), "text")
_TEXT_OR_NULL: _Check = (_one_of(str, type(None)), "text, or null")
_MAPPING: _Check = (_one_of(dict, type(None)), "a mapping")
_TEMPLATE_OR_INDEX: _Check = (
    _one_of(str, int, FunctionRef, type(None)),
    "a column, a template, or the index of a choice",
)
_TARGET: _Check = (_one_of(str, int, list, FunctionRef, type(None)), "a column, a template, an index, or a list")
_CHOICE: _Check = (_one_of(str, list, dict, FunctionRef, type(None)), "a column, a template, a list, or a mapping")

_TEXT_KEYS = (
    *("task_alias", "dataset_path", "dataset_name", "use_prompt", "description", "gen_prefix"),
    *("training_split", "validation_split", "test_split", "fewshot_split"),
)

_CHECKS: dict[str, _Check] = {
    "task": (lambda v: isinstance(v, str) and bool(v), "the name of the task"),
    **dict.fromkeys(_TEXT_KEYS, _TEXT_OR_NULL),
    **dict.fromkeys(("target_delimiter", "fewshot_delimiter"), _TEXT),
    **dict.fromkeys(("dataset_kwargs", "generation_kwargs", "fewshot_config"), _MAPPING),
    "process_docs": (_one_of(FunctionRef, type(None)), "!function module.name"),
    "doc_to_text": _TEMPLATE_OR_INDEX,
    "doc_to_target": _TARGET,
    "doc_to_choice": _CHOICE,
    "num_fewshot": (lambda v: v is None or _is_count(v, 0), "a whole number, 0 or more"),
    "repeats": (lambda v: _is_count(v, 1), "a whole number, 1 or more"),
    "output_type": (lambda v: v in OUTPUT_TYPES, f"one of {', '.join(OUTPUT_TYPES)}"),
    "metric_list": (lambda v: v is None or _is_metric_list(v), "a list of mappings, each with a key metric"),
    "filter_list": (
        lambda v: v is None or (isinstance(v, list) and all(map(_is_filter, v))),
        "a list of mappings {name: …, filter: [{function: …}, …]}",
    ),
}

_FEWSHOT_CHECKS: dict[str, _Check] = {
    "sampler": (_one_of(str, FunctionRef), "default or first_n"),
    "split": _TEXT_OR_NULL,
    "process_docs": _CHECKS["process_docs"],
    "samples": (_one_of(list, FunctionRef, type(None)), "a list of docs"),
    "doc_to_text": _TEMPLATE_OR_INDEX,
    "doc_to_target": _TARGET,
    "doc_to_choice": _CHOICE,
    "gen_prefix": _TEXT_OR_NULL,
    "fewshot_delimiter": _TEXT,
    "target_delimiter": _TEXT,
}


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, FunctionRef) else str(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _check_keys(
    values: Mapping[str, Any], known: tuple[str, ...], checks: Mapping[str, _Check], prefix: str = ""
) -> list[tuple[str, Problem]]:
    problems: list[tuple[str, Problem]] = []
    for key, value in values.items():
        if key not in known:
            expected = f"one of {listing(known, 50)}"
            problems.append(
                (key, Problem(f"unknown key {prefix}{key}", expected=expected, hint=did_you_mean(key, known)))
            )
        elif key in checks and not checks[key][0](value):
            problems.append((key, Problem(f"{prefix}{key} is {_shown(value)}", expected=checks[key][1])))
    return problems


def _problems(found: YamlMapping, source: Path | None) -> tuple[Problem, ...]:
    def at(problem: Problem, key: str) -> Problem:
        return replace(problem, location=found.places.get(key) or (Location(source) if source else None))

    values = found.values
    problems = [at(problem, key) for key, problem in _check_keys(values, _TASK_KEYS, _CHECKS)]
    fewshot = values.get("fewshot_config")
    if isinstance(fewshot, dict):
        inner = _check_keys(fewshot, _FEWSHOT_KEYS, _FEWSHOT_CHECKS, "fewshot_config.")
        problems += [at(problem, "fewshot_config") for _, problem in inner]
    generation = values.get("generation_kwargs")
    if isinstance(generation, dict) and "temperature" in generation and _as_float(generation["temperature"]) is None:
        wrong = f"generation_kwargs.temperature is {_shown(generation['temperature'])}"
        problems.append(at(Problem(wrong, expected="a number"), "generation_kwargs"))
    return tuple(problems)


def _as_float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


# -- defaults --------------------------------------------------------------------------------------


def _generation(values: Mapping[str, Any], fewshot_delimiter: str) -> dict[str, Any] | None:
    stated = values.get("generation_kwargs")
    if stated is None:
        if values.get("output_type", "generate_until") != "generate_until":
            return None
        return {"temperature": 0.0, "do_sample": False, "max_gen_toks": 256, "until": [fewshot_delimiter]}
    generation = dict(stated)
    if "temperature" in generation:
        generation["temperature"] = _as_float(generation["temperature"])
    generation.setdefault("until", [fewshot_delimiter])
    return generation


_INHERITED = (
    *("process_docs", "doc_to_text", "doc_to_choice", "doc_to_target"),
    *("gen_prefix", "fewshot_delimiter", "target_delimiter"),
)


def _fewshot(values: Mapping[str, Any]) -> FewshotConfig:
    """A key that is stated counts, even as null; the others come from the task."""
    inherited = {key: values[key] for key in _INHERITED if key in values}
    stated = values.get("fewshot_config") or {}
    return FewshotConfig(**{"split": values.get("fewshot_split"), **inherited, **stated})


def _metadata(value: Any, source: Path | None, over: Mapping[str, Any] | None) -> dict[str, Any]:
    stated = dict(value) if isinstance(value, Mapping) else {"_metadata": value}
    return {**stated, **(over or {}), "config_source": str(source) if source else "inline"}


def task_config(found: YamlMapping, source: Path | None, metadata: Mapping[str, Any] | None = None) -> TaskConfig:
    """Check the keys of a task and fill in what they leave out.

    ``source`` is the task's own file, or None for a task written inside a group. ``metadata`` is put over its own
    metadata. Raises :class:`~lmrun.errors.TaskError` with every problem that the keys have.
    """
    found = found.without(*_DROPPED)
    values = found.values
    if "class" in values:
        return _python_task(found, source, metadata)
    problems = _problems(found, source)
    if problems:
        raise TaskError(f"task {values.get('task')!r} is not valid", problems=problems)
    stated = {key: value for key, value in values.items() if key not in ("fewshot_config", "generation_kwargs")}
    stated["metadata"] = _metadata(values.get("metadata", {}), source, metadata)
    return TaskConfig(
        **stated,
        fewshot_config=_fewshot(values),
        generation_kwargs=_generation(values, values.get("fewshot_delimiter", "\n\n")),
        source=source,
        places=found.places,
        fewshot_keys=frozenset(values.get("fewshot_config") or ()),
    )


def _python_task(found: YamlMapping, source: Path | None, metadata: Mapping[str, Any] | None) -> TaskConfig:
    values, places = found.values, found.places
    stated = values["class"]
    location = places.get("class") or Location(source or Path())
    ref = stated if isinstance(stated, FunctionRef) else FunctionRef(str(stated), location.file.parent, location)
    ref = replace(ref, config=canonical_json(as_json(found.without("class").values)))
    name = values.get("task")
    return TaskConfig(
        task=name if isinstance(name, str) else str(name),
        metadata=_metadata(values.get("metadata", {}), source, metadata),
        python_class=ref,
        source=source,
        places=places,
    )
