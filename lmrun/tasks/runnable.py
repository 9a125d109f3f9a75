"""What a task asks for that this version does not do, found before any data is opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lmrun.errors import Problem, TaskError, did_you_mean
from lmrun.functions import FunctionRef, Functions
from lmrun.tasks.config import TaskConfig
from lmrun.tasks.fewshot import SAMPLERS
from lmrun.tasks.problems import listing
from lmrun.tasks.template import TemplateError, check_template
from lmrun.tasks.yaml import functions_in

_TEMPLATE_KEYS = ("doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix")
_CODE_KEYS = (
    *("custom_dataset", "process_docs", "doc_to_text", "doc_to_target", "doc_to_choice", "process_results"),
    *("metric_list", "filter_list"),
)
_FEWSHOT_CODE_KEYS = ("process_docs", "doc_to_text", "doc_to_target", "doc_to_choice", "samples")


def check_runnable(config: TaskConfig, functions: Functions) -> None:
    """Raise :class:`~lmrun.errors.TaskError` with everything that stands in the way of building a task."""
    problems = [*_refused(config), *_missing(config), *_samplers(config), *_templates(config)]
    problems += _code(config, functions)
    if problems:
        found = tuple(dict.fromkeys(problems))
        raise TaskError(f"cannot run task {config.task!r}", hint=found[0].hint, problems=found)


def _code(config: TaskConfig, functions: Functions) -> list[Problem]:
    """What is wrong with the code that a task names; of all that one thing would mend, only the first."""
    problems: list[Problem] = []
    for ref in function_refs(config):
        try:
            functions.check(ref)
        except TaskError as error:
            if error.hint is None or all(error.hint != problem.hint for problem in problems):
                problems.extend(error.problems or (Problem(error.message, ref.location, hint=error.hint),))
    return problems


def function_refs(config: TaskConfig) -> tuple[FunctionRef, ...]:
    """Every ``!function`` that evaluating the task can call, each once."""
    stated = [getattr(config, key) for key in _CODE_KEYS]
    stated += [getattr(config.fewshot_config, key) for key in _FEWSHOT_CODE_KEYS]
    return tuple(dict.fromkeys(functions_in(stated)))


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


def _samplers(config: TaskConfig) -> Iterator[Problem]:
    sampler = config.fewshot_config.sampler
    if sampler not in SAMPLERS:
        yield Problem(
            f"fewshot_config.sampler: there is no sampler {str(sampler)!r}",
            config.fewshot_place("sampler"),
            expected=f"one of {listing(SAMPLERS)}",
            hint=did_you_mean(str(sampler), SAMPLERS),
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
