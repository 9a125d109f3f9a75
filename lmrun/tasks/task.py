"""A task with its data: what is evaluated, how it is asked, and what scoring has to know of it."""

from __future__ import annotations

import glob
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmrun.functions import FunctionRef, Functions
from lmrun.requests import canonical_json
from lmrun.tasks.config import OutputType, TaskConfig
from lmrun.tasks.fewshot import Pool
from lmrun.tasks.fields import Fields
from lmrun.tasks.problems import listing, task_error
from lmrun.tasks.render import PromptSettings, Renderer, at_doc
from lmrun.tasks.runnable import check_runnable, function_refs

if TYPE_CHECKING:
    from lmrun.data import DatasetSpec, DataSource, Split

Doc = dict[str, Any]
_LENGTH_NAMES = frozenset(("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"))

_DEFAULT_METRICS: Mapping[OutputType, tuple[str, ...]] = {
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
}


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What scoring needs of one doc."""

    doc_id: int
    doc: Mapping[str, Any]
    target: Any
    """``doc_to_target`` with its raw type."""
    text: Any = None
    """``doc_to_text`` with its raw type; an int where ``multiple_input``."""
    choices: Sequence[Any] | None = None


class Task:
    """One task. Building it opens no data; the first look at a doc does.

    Raises :class:`~lmrun.errors.TaskError` where the task needs something that this version does not do.
    """

    def __init__(self, config: TaskConfig, data: DataSource, functions: Functions) -> None:
        check_runnable(config, functions)
        self.task_config = config
        self.functions = functions
        self._data = data
        self._loaded: dict[str, Split] = {}
        self.name = config.task
        self.alias = config.task_alias
        self.output_type: OutputType = config.output_type
        self.has_choices = config.doc_to_choice is not None
        stated = config.process_results
        self.process_results: FunctionRef | None = stated if isinstance(stated, FunctionRef) else None
        """Code that gives all metric values of a doc. As in lm-eval, text under this key has no effect."""
        self.filter_list = config.filter_list
        """Filter pipelines as the task states them; None means the default one."""
        defaults = [{"metric": name} for name in _DEFAULT_METRICS[config.output_type]]
        self.metric_list: list[dict[str, Any]] = config.metric_list if config.metric_list is not None else defaults
        """Metrics as the task states them, or those of its output type."""

    @property
    def version(self) -> Any:
        """``metadata.version`` with its raw type, else ``"Yaml"``."""
        return self.task_config.metadata.get("version", "Yaml")

    @property
    def config(self) -> dict[str, Any]:
        """The configuration as JSON values, without nulls."""
        return self.task_config.as_json()

    @cached_property
    def content_hash(self) -> str:
        """Hash of the configuration with everything that it includes, and of the code that it names."""
        return content_hash(self.task_config, self.functions)

    # -- what a run's settings make of it ----------------------------------------------------------

    def num_fewshot(self, settings: PromptSettings) -> int:
        """Examples per prompt: the run's number, else the task's, else 0. A 0 in the task file cannot be overridden."""
        stated = self.task_config.num_fewshot
        if stated == 0 or settings.num_fewshot is None:
            return stated or 0
        return settings.num_fewshot

    def may_show_its_own_answer(self, settings: PromptSettings) -> bool:
        """Whether examples come from the evaluated split and the evaluated doc is not kept out of them (as lm-eval)."""
        if not self.num_fewshot(settings) or self._fewshot_split != self.eval_split:
            return False
        return self.task_config.fewshot_config.split != self.task_config.test_split

    def generation(self, settings: PromptSettings) -> dict[str, Any]:
        """Generation parameters: the task's, with the run's put over them. Empty where nothing is generated."""
        if self.output_type != "generate_until":
            return {}
        stated, asked = self.task_config.generation_kwargs or {}, settings.generation or {}
        if asked.keys() & _LENGTH_NAMES and settings.compat is None:
            # All of these name one thing: the run's word for it takes the place of the task's. lm-eval hands both on,
            # and it may be the task's that counts.
            stated = {name: value for name, value in stated.items() if name not in _LENGTH_NAMES}
        return {**stated, **asked}

    def config_with(self, settings: PromptSettings) -> dict[str, Any]:
        """``config`` as it is in a run with these settings: what a results file records."""
        found = {**self.config, "num_fewshot": self.num_fewshot(settings)}
        generation = self.generation(settings)
        return {**found, "generation_kwargs": generation} if generation else found

    def renderer(self, settings: PromptSettings) -> Renderer:
        """A fresh renderer: it starts with the first doc."""
        return Renderer(self, settings)

    # -- docs --------------------------------------------------------------------------------------

    @property
    def eval_split(self) -> str:
        """Name of the split whose docs are evaluated."""
        # One of them is there: check_runnable has seen to it.
        return str(self.task_config.test_split or self.task_config.validation_split)

    @property
    def dataset(self) -> DatasetSpec:
        """Where the docs come from."""
        from lmrun.data import DatasetSpec

        config = self.task_config
        return DatasetSpec(config.dataset_path, config.dataset_name, self._dataset_kwargs())

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that a run can need: the evaluated one, and the one that examples are taken from."""
        return tuple(dict.fromkeys(name for name in (self.eval_split, self._fewshot_split) if name))

    @property
    def _fewshot_split(self) -> str | None:
        config, fewshot = self.task_config, self.task_config.fewshot_config
        if self.output_type == "loglikelihood_rolling":
            return None  # it has no prompt
        if fewshot.split is not None:
            return fewshot.split
        if fewshot.samples is not None:
            return None
        return config.training_split or config.validation_split or config.test_split

    @cached_property
    def _docs(self) -> Split:
        docs = self._split(self.eval_split, self.task_config.process_docs, self._prepared_before)
        if len(docs) == 0:
            key = "test_split" if self.task_config.test_split else "validation_split"
            message = f"split {self.eval_split!r} of {self.task_config.dataset_path!r} has no docs"
            raise task_error(f"task {self.name!r} has no docs", message, self.task_config.place(key))
        return docs

    @property
    def n_docs(self) -> int:
        """Docs of the split that is evaluated."""
        return len(self._docs)

    def doc_count(self, limit: int | float | None) -> int:
        """How many docs a limit leaves: below 1 a share, rounded up; else a number of docs; None is all."""
        if limit is None:
            return self.n_docs
        count = math.ceil(self.n_docs * limit) if limit < 1.0 else int(limit)
        if count < 1:
            raise task_error(
                f"task {self.name!r} has no docs",
                f"limit {limit} leaves no docs",
                expected="a number of docs, or a share between 0 and 1",
            )
        return min(count, self.n_docs)

    def eval_docs(self, limit: int | float | None = None) -> Iterator[tuple[int, Doc]]:
        """The docs in order, each with its id (its position in the split)."""
        return enumerate(islice(self._docs, self.doc_count(limit)))

    @property
    def dataset_fingerprints(self) -> dict[str, str]:
        """Hash of the rows of every split that has been used so far, by split."""
        return {name: split.fingerprint for name, split in self._loaded.items()}

    def fewshot_pool(self) -> Pool:
        """The docs that examples are taken from; opened here and not before, as few runs need them."""
        config, fewshot = self.task_config, self.task_config.fewshot_config
        if fewshot.split is not None:
            return self._split(fewshot.split, fewshot.process_docs)
        if fewshot.samples is not None:
            samples = fewshot.samples
            listed: list[Doc] = self.functions.call(samples) if isinstance(samples, FunctionRef) else samples
            return listed
        return self._split(str(self._fewshot_split), config.process_docs)

    def _prepared_before(self) -> Split | None:
        """The split that lm-eval prepares before the evaluated one: that of the examples."""
        fewshot, name = self.task_config.fewshot_config, self._fewshot_split
        if name in (None, self.eval_split) or fewshot.process_docs != self.task_config.process_docs:
            return None
        return self._raw_split(str(name))

    def _split(
        self, name: str, process_docs: FunctionRef | None, before: Callable[[], Split | None] = lambda: None
    ) -> Split:
        split = self._raw_split(name)
        return split if process_docs is None else self.functions.process_docs(process_docs, split, before)

    def _raw_split(self, name: str) -> Split:
        if name not in self._loaded:
            made = self.task_config.custom_dataset
            self._loaded[name] = self._made_split(name) if made else self._data.load(self.dataset, name)
        return self._loaded[name]

    def _made_split(self, name: str) -> Split:
        if name not in self._made:
            message = f"custom_dataset makes no split {name!r}; it makes {listing(self._made)}"
            raise task_error(f"task {self.name!r} has no docs", message, self.task_config.place("custom_dataset"))
        return self._made[name]

    @cached_property
    def _made(self) -> Mapping[str, Split]:
        """The splits that ``custom_dataset`` makes; it is given the metadata and the ``dataset_kwargs``."""
        config = self.task_config
        kwargs = {**config.metadata, **(config.dataset_kwargs or {})}
        return self.functions.custom_dataset(config.custom_dataset, kwargs, partial(self._data.load, self.dataset))

    def _dataset_kwargs(self) -> dict[str, Any]:
        kwargs = dict(self.task_config.dataset_kwargs or {})
        kwargs.pop("trust_remote_code", None)  # dataset scripts are never run
        place = self.task_config.place("dataset_kwargs")
        if place and "data_files" in kwargs:
            kwargs["data_files"] = _beside(place.file.parent, kwargs["data_files"])
        return kwargs

    # -- what they say -----------------------------------------------------------------------------

    @cached_property
    def fields(self) -> Fields:
        """``doc_to_text`` and its kin."""
        return Fields(self.task_config, frozenset(self._docs.columns), self.functions)

    @cached_property
    def multiple_input(self) -> bool:
        """The choices are the contexts (winogrande). The first doc decides it for all, as in lm-eval."""
        return self.has_choices and isinstance(self.fields.text(self._docs[0]), int)

    @cached_property
    def multiple_target(self) -> bool:
        """The target is a list of targets. The first doc decides it for all, as in lm-eval."""
        target = self.fields.target(self._docs[0])
        return isinstance(target, list) and bool(target)

    def facts(self, doc_id: int, doc: Doc) -> TaskFacts:
        """What scoring needs of a doc. Raises :class:`~lmrun.errors.TaskError` where the task does not fit it."""
        fields = self.fields
        with at_doc(self.task_config, doc_id):
            return TaskFacts(doc_id, doc, fields.target(doc), fields.text(doc), fields.choices(doc))


def content_hash(config: TaskConfig, functions: Functions) -> str:
    """Hash of what a task says and of the source of the code that it names; nothing is run for it."""
    sources = [functions.source_hash(ref) for ref in function_refs(config)]
    if not sources:
        return config.content_hash
    content = canonical_json([config.content_hash, *sources])
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def _beside(folder: Path, files: Any) -> Any:
    """Paths and patterns of data files that are there beside the task file, made absolute; others stay as they are."""
    if isinstance(files, Mapping):
        return {split: _beside(folder, item) for split, item in files.items()}
    if isinstance(files, list):
        return [_beside(folder, item) for item in files]
    path = str(folder / Path(str(files)))
    return path if glob.glob(path, recursive=True) else files  # noqa: PTH207 - absolute patterns
