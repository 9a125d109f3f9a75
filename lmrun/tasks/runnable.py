"""What a task asks for that this version does not do, found before any data is opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lmrun.errors import Problem, TaskError, did_you_mean
from lmrun.functions import FunctionRef
from lmrun.tasks.builtin_docs import BUILTIN_DOCS, PREFIX
from lmrun.tasks.config import TaskConfig
from lmrun.tasks.fewshot import SAMPLERS
from lmrun.tasks.problems import listing
from lmrun.tasks.template import TemplateError, check_template
from lmrun.tasks.yaml import contains_function

NEEDS_HELPERS = "this task needs Python helpers, which this version does not run"

_FUNCTION_KEYS = ("custom_dataset", "process_docs", "doc_to_text", "doc_to_target", "doc_to_choice", "process_results")
_TEMPLATE_KEYS = ("doc_to_text", "doc_to_target", "doc_to_choice", "doc_to_count_text", "description", "gen_prefix")
_FEWSHOT_FUNCTION_KEYS = ("sampler", "process_docs", "doc_to_text", "doc_to_target", "doc_to_choice")


def check_runnable(config: TaskConfig) -> None:
    """Raise :class:`~lmrun.errors.TaskError` with everything that stands in the way of building a task."""
    _raise(config, (*_refused(config), *_helpers(config), *_missing(config), *_names(config), *_templates(config)))


def check_fewshot_runnable(config: TaskConfig) -> None:
    """Raise :class:`~lmrun.errors.TaskError` where the examples, which a task needs only with ``num_fewshot`` above 0,
    need Python helpers."""
    keys = list(_FEWSHOT_FUNCTION_KEYS)
    if config.fewshot_config.split is None:
        keys.append("samples")
    refs = ((key, contains_function(getattr(config.fewshot_config, key))) for key in keys)
    _raise(config, tuple(_helper(f"fewshot_config.{key}", ref) for key, ref in refs if ref))


def _raise(config: TaskConfig, problems: tuple[Problem, ...]) -> None:
    if problems:
        raise TaskError(f"cannot run task {config.task!r}", hint=problems[0].hint, problems=problems)


def _helper(key: str, ref: FunctionRef) -> Problem:
    return Problem(f"{key} is {ref}: {NEEDS_HELPERS}", ref.location)


def _helpers(config: TaskConfig) -> Iterator[Problem]:
    if config.python_class:
        yield _helper("class", config.python_class)
    for key in (*_FUNCTION_KEYS, "metric_list", "filter_list"):
        ref = contains_function(getattr(config, key))
        if ref:
            yield _helper(key, ref)


def _refused(config: TaskConfig) -> Iterator[Problem]:
    def refuse(key: str, why: str) -> Problem:
        return Problem(f"{key}: {why}", config.place(key))

    if config.doc_to_image is not None:
        yield refuse("doc_to_image", "this task shows images to the model, which this version cannot do")
    if config.doc_to_audio:
        yield refuse("doc_to_audio", "this task plays audio to the model, which this version cannot do")
    if config.unsafe_code is not False:
        yield refuse("unsafe_code", "this task runs code that the model writes, which this version does not do")
    if config.use_prompt is not None:
        yield refuse("use_prompt", "named prompts are not supported; write doc_to_text and doc_to_target instead")


def _missing(config: TaskConfig) -> Iterator[Problem]:
    if config.python_class:
        return

    def missing(what: str, hint: str) -> Problem:
        return Problem(f"the task states no {what}", config.place("task"), hint=hint)

    if config.dataset_path is None and config.custom_dataset is None:
        yield missing(
            "dataset_path", "name a dataset: a hub id, or json, csv or parquet with dataset_kwargs.data_files"
        )
    if config.test_split is None and config.validation_split is None:
        yield missing("test_split or validation_split", "name the split whose docs are evaluated")
    if config.doc_to_text is None and config.output_type != "loglikelihood_rolling":
        yield missing("doc_to_text", "name a column, or write a template")
    if config.doc_to_target is None:
        yield missing("doc_to_target", "name a column, or write a template")
    if config.doc_to_choice is None and config.output_type == "multiple_choice":
        yield missing("doc_to_choice", "output_type multiple_choice needs the list of choices")


def _names(config: TaskConfig) -> Iterator[Problem]:
    yield from _builtin("process_docs", config.process_docs, config)
    fewshot = config.fewshot_config
    if "process_docs" in config.fewshot_keys:
        yield from _builtin("fewshot_config.process_docs", fewshot.process_docs, config)
    if isinstance(fewshot.sampler, str) and fewshot.sampler not in SAMPLERS:
        yield Problem(
            f"fewshot_config.sampler: there is no sampler {fewshot.sampler!r}",
            config.fewshot_place("sampler"),
            expected=f"one of {listing(SAMPLERS)}",
            hint=did_you_mean(fewshot.sampler, SAMPLERS),
        )


def _builtin(key: str, value: Any, config: TaskConfig) -> Iterator[Problem]:
    known = [PREFIX + name for name in BUILTIN_DOCS]
    if isinstance(value, str) and value not in known:
        yield Problem(
            f"{key}: there is no preparation of docs {value!r}",
            config.place(key.partition(".")[0]),
            expected=f"!function module.name, or one of {listing(known)}",
            hint=did_you_mean(value, known),
        )


def _templates(config: TaskConfig) -> Iterator[Problem]:
    for key in _TEMPLATE_KEYS:
        yield from _template(key, getattr(config, key), Problem("", config.place(key)))
    for key in sorted(config.fewshot_keys.intersection(_TEMPLATE_KEYS)):
        place = config.fewshot_place(key)
        yield from _template(f"fewshot_config.{key}", getattr(config.fewshot_config, key), Problem("", place))


def _template(key: str, value: Any, problem: Problem) -> Iterator[Problem]:
    if isinstance(value, str):
        try:
            check_template(value)
        except TemplateError as error:
            yield replace(problem, message=f"{key}: {error.message}")
