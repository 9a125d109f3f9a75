"""Stands in for ``lm_eval.api.task``: the base of tasks that are Python classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from lmrun.code.shim.instance import Instance
from lmrun.functions import FunctionRef, Functions
from lmrun.requests import Message
from lmrun.tasks.config import TaskConfig, task_config
from lmrun.tasks.fields import Fields
from lmrun.tasks.prompt import context, system_part, turn
from lmrun.tasks.yaml import YamlMapping

ALL_OUTPUT_TYPES = ["loglikelihood", "multiple_choice", "loglikelihood_rolling", "generate_until"]

Doc = Mapping[str, Any]
Splits = Mapping[str, Any]


class DatasetNeededError(Exception):
    """The class leaves its data to lmrun, which has not given it yet."""

    def __init__(self, path: str | None, name: str | None, kwargs: Mapping[str, Any]) -> None:
        super().__init__(f"the dataset {path!r} ({name!r}) is not open")
        self.path, self.name, self.kwargs = path, name, dict(kwargs)


class Given:
    """What lmrun gives to the objects that are being made: their dataset."""

    splits: Splits | None = None


class Prompt(str):
    """A prompt that is a chat: text to the class, messages to the model."""

    messages: tuple[Message, ...]

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Prompt:
        """The prompt of some messages."""
        made = cls("\n".join(message.content for message in messages))
        made.messages = tuple(messages)
        return made


class _Callables:
    """Functions in the place of the references to them that a configuration holds."""

    def __init__(self) -> None:
        self._functions: list[Callable[..., Any]] = []

    def as_refs(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.as_refs(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.as_refs(item) for item in value]
        if not callable(value):
            return value
        self._functions.append(value)
        return FunctionRef(str(len(self._functions) - 1), Path())

    def restored(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self.restored(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.restored(item) for item in value]
        return self._functions[int(value.target)] if isinstance(value, FunctionRef) else value

    def call(self, ref: FunctionRef, *args: Any, **kwargs: Any) -> Any:
        return self._functions[int(ref.target)](*args, **kwargs)


class _Config(SimpleNamespace):
    """A task's configuration, whose keys are attributes and items."""

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self, key, value)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key."""
        return getattr(self, key, default)

    def to_dict(self) -> dict[str, Any]:
        """The keys that have a value."""
        return {key: value for key, value in vars(self).items() if value is not None}


class ConfigurableTask:
    """A task: its dataset, its requests and its scores. Subclasses override what they do otherwise."""

    VERSION: Any = "Yaml"
    OUTPUT_TYPE: Any = None
    DATASET_PATH: str | None = None
    DATASET_NAME: str | None = None
    CONFIG: Mapping[str, Any] | None = None
    MULTIMODAL = False

    def __init__(
        self, data_dir: Any = None, cache_dir: Any = None, download_mode: Any = None, config: Any = None
    ) -> None:
        stated = {"task": type(self).__name__, **(self.CONFIG or {}), **(config or {})}
        kept = {key: value for key, value in stated.items() if key != "class" and (key != "task" or value)}
        self._callables = _Callables()
        self._stated: TaskConfig = task_config(YamlMapping(self._callables.as_refs(kept)), None)
        values = {f.name: deepcopy(getattr(self._stated, f.name)) for f in fields(TaskConfig)}
        self._config = _Config(**self._callables.restored(values))
        self.VERSION = self._config.metadata.get("version", self.VERSION)
        self.OUTPUT_TYPE = self._config.output_type
        self.DATASET_PATH = self._config.dataset_path or self.DATASET_PATH
        self.DATASET_NAME = self._config.dataset_name or self.DATASET_NAME
        self.sampler: Any = None
        self.dataset: Any = None
        self.download(self._config.dataset_kwargs)

    @property
    def config(self) -> _Config:
        """The configuration."""
        return self._config

    def get_config(self, key: str) -> Any:
        """A key of the configuration."""
        return self._config.get(key)

    def set_config(self, key: str, value: Any, update: bool = False) -> None:
        """Change a key of the configuration, or (``update``) keys of what it holds."""
        self._config[key] = {**(self._config.get(key) or {}), **value} if update else value

    # -- docs --------------------------------------------------------------------------------------

    def download(self, dataset_kwargs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """Get the dataset; here it is lmrun that does."""
        if Given.splits is None:
            raise DatasetNeededError(self.DATASET_PATH, self.DATASET_NAME, dataset_kwargs or {})
        self.dataset = Given.splits

    def has_training_docs(self) -> bool:
        """Whether there are docs for training."""
        return self._config.training_split is not None

    def has_validation_docs(self) -> bool:
        """Whether there are docs for validation."""
        return self._config.validation_split is not None

    def has_test_docs(self) -> bool:
        """Whether there are docs for testing."""
        return self._config.test_split is not None

    def training_docs(self) -> Any:
        """The docs for training."""
        return self._prepared(self._config.training_split)

    def validation_docs(self) -> Any:
        """The docs for validation."""
        return self._prepared(self._config.validation_split)

    def test_docs(self) -> Any:
        """The docs for testing."""
        return self._prepared(self._config.test_split)

    def fewshot_docs(self) -> Any:
        """The docs that examples are taken from."""
        fewshot = self._stated.fewshot_config
        if fewshot.split is not None:
            prepare = self._callables.restored(fewshot.process_docs)
            return prepare(self.dataset[fewshot.split]) if prepare else self.dataset[fewshot.split]
        if fewshot.samples is not None:
            samples = self._callables.restored(fewshot.samples)
            return samples() if callable(samples) else samples
        return self.training_docs() if self.has_training_docs() else self._first(self.validation_docs, self.test_docs)

    @property
    def eval_docs(self) -> Any:
        """The docs that are evaluated."""
        return self._first(self.test_docs, self.validation_docs)

    def _first(self, *ways: Callable[[], Any]) -> Any:
        has = {"test_docs": self.has_test_docs, "validation_docs": self.has_validation_docs}
        for way in ways:
            if has[way.__name__]():
                return way()
        raise ValueError("the task has neither test docs nor validation docs")

    def _prepared(self, split: str | None) -> Any:
        if split is None:
            return None
        prepare = self._config.process_docs
        return prepare(self.dataset[split]) if prepare else self.dataset[split]

    def _process_doc(self, doc: Any) -> Any:
        return doc

    # -- prompts -----------------------------------------------------------------------------------

    @cached_property
    def features(self) -> list[str]:
        """Columns of the docs that are evaluated."""
        docs = self.eval_docs
        return list(docs.features) if hasattr(docs, "features") else list(docs[0])

    @cached_property
    def _fields(self) -> Fields:
        return Fields(self._stated, frozenset(self.features), cast("Functions", self._callables))

    @cached_property
    def multiple_input(self) -> bool:
        """Whether the choices are contexts."""
        return self._stated.doc_to_choice is not None and isinstance(self.doc_to_text(self.eval_docs[0]), int)

    def doc_to_text(self, doc: Doc, doc_to_text: Any = None) -> Any:
        """The question of a doc."""
        return self._fields.text(doc) if doc_to_text is None else self._fields.fewshot_text(doc)

    def doc_to_target(self, doc: Doc, doc_to_target: Any = None) -> Any:
        """The answer of a doc."""
        return self._fields.target(doc) if doc_to_target is None else self._fields.fewshot_target(doc)

    def doc_to_choice(self, doc: Doc, doc_to_choice: Any = None) -> Any:
        """The choices of a doc."""
        return self._fields.choices(doc) if doc_to_choice is None else self._fields.fewshot_choices(doc)

    def doc_to_prefix(self, doc: Doc) -> str | None:
        """How the answer begins."""
        return self._fields.gen_prefix(doc) if self._config.gen_prefix is not None else None

    def should_decontaminate(self) -> bool:
        """Has no effect here: decontamination is a matter of the run."""
        return bool(self._config.should_decontaminate)

    def fewshot_context(
        self,
        doc: Doc,
        num_fewshot: int,
        system_instruction: str | None = None,
        apply_chat_template: bool = False,
        fewshot_as_multiturn: bool = False,
        chat_template: Any = None,
        gen_prefix: str | None = None,
    ) -> Any:
        """The prompt of a doc; one per choice where the choices are contexts."""
        stated = self._config.description
        description = self._fields.description(doc) if stated else ""
        before = system_part(system_instruction, description, self._config.fewshot_delimiter)
        for example in self.sampler.sample(n=num_fewshot) if num_fewshot else ():
            before += self._example(example)
        choices = self.doc_to_choice(doc) if self._config.doc_to_choice else None
        delimiter = "" if self.multiple_input else self._config.target_delimiter
        asked = choices if self.multiple_input else [self.doc_to_text(doc)]
        prompts: list[Any] = []
        for question in asked or ():
            parts = [*before, *turn(question, None, None, prefix=gen_prefix or "", target_delimiter=delimiter)]
            made = context(parts, as_chat=apply_chat_template, multiturn=fewshot_as_multiturn)
            prompts.append(made if isinstance(made, str) else Prompt.of(made))
        return prompts if self.multiple_input else prompts[0]

    def _example(self, doc: Doc) -> Any:
        fewshot = self._stated.fewshot_config
        question = _of(self.doc_to_text, doc, fewshot.doc_to_text)
        choices = _of(self.doc_to_choice, doc, fewshot.doc_to_choice) if fewshot.doc_to_choice else None
        if self.multiple_input and choices:
            question, choices = choices[question], None
        return turn(
            question,
            choices,
            _of(self.doc_to_target, doc, fewshot.doc_to_target),
            prefix=self._fields.fewshot_gen_prefix(doc) if fewshot.gen_prefix else "",
            target_delimiter=fewshot.target_delimiter,
            fewshot_delimiter=fewshot.fewshot_delimiter,
        )

    def construct_requests(self, doc: Doc, ctx: Any, **kwargs: Any) -> Any:
        """The requests of a doc whose prompt is ``ctx``."""
        in_chat = kwargs.pop("apply_chat_template", False)
        kwargs.pop("chat_template", None)
        kind: str = self.OUTPUT_TYPE
        if kind == "multiple_choice":
            found = self._choice_arguments(doc, ctx, in_chat)
            return [Instance("loglikelihood", doc, args, idx, **kwargs) for idx, args in enumerate(found)]
        if kind == "generate_until":
            return Instance(kind, doc, (ctx, deepcopy(self._config.generation_kwargs)), 0, **kwargs)
        target = self.doc_to_target(doc)
        return Instance(kind, doc, (ctx, target) if kind == "loglikelihood" else (target,), 0, **kwargs)

    def _choice_arguments(self, doc: Doc, ctx: Any, in_chat: bool) -> list[tuple[Any, str]]:
        prefix, delimiter = self._config.gen_prefix, self._config.target_delimiter
        if in_chat and not (prefix and not prefix[-1].isspace()):
            delimiter = ""
        if self.multiple_input:
            return [(one, f"{delimiter}{self.doc_to_target(doc)}") for one in ctx]
        return [(ctx, f"{delimiter}{choice}") for choice in self.doc_to_choice(doc)]

    # -- scores ------------------------------------------------------------------------------------

    def process_results(self, doc: Doc, results: Any) -> Any:
        """The metrics of a doc."""
        if callable(self._config.process_results):
            return self._config.process_results(doc, results)
        raise NotImplementedError("the class defines no process_results, and lmrun has none for it")

    def aggregation(self) -> Mapping[str, Any]:
        """What aggregates each metric: a function, or the name of one."""
        return {entry["metric"]: entry.get("aggregation") for entry in self._config.metric_list or ()}

    def higher_is_better(self) -> Mapping[str, bool]:
        """Of each metric, whether higher is better."""
        return {entry["metric"]: entry.get("higher_is_better") for entry in self._config.metric_list or ()}


def _of(field: Callable[..., Any], doc: Doc, stated: Any) -> Any:
    """A field of an example. Where a class overrides it for a doc alone, examples are asked for in the same way."""
    takes_two = len(inspect.signature(field).parameters) > 1
    return field(doc, stated) if takes_two and stated is not None else field(doc)
