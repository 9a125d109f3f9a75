"""Tasks that are Python classes: what they ask and how they score is their own code's business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lmrun.functions import ClassTaskFacts, FunctionRef, Functions
from lmrun.requests import REQUEST_KINDS, Request, context_from_json
from lmrun.tasks.config import TaskConfig, as_json
from lmrun.tasks.fewshot import Pool
from lmrun.tasks.prompt import PromptError
from lmrun.tasks.render import Doc, PromptSettings, Renderer, at_doc, is_sampled
from lmrun.tasks.task import Task

if TYPE_CHECKING:
    from lmrun.data import DataSource, Split

_POOL = "examples"


def build_task(config: TaskConfig, data: DataSource, functions: Functions) -> Task:
    """The task of a configuration. Raises :class:`~lmrun.errors.TaskError` where it cannot be run."""
    if config.python_class is None:
        return Task(config, data, functions)
    return PythonTask(config, config.python_class, data, functions)


class PythonTask(Task):
    """A task whose class is asked for its docs, its requests and its scores.

    Building it makes the object of the class, for which its dataset is opened.
    """

    def __init__(self, config: TaskConfig, ref: FunctionRef, data: DataSource, functions: Functions) -> None:
        self._ref = ref
        facts = functions.open_class(ref, lambda *spec: _splits(data, *spec))
        super().__init__(_as_code(config, ref, facts), data, functions)

    def renderer(self, settings: PromptSettings) -> Renderer:
        """See :class:`~lmrun.tasks.task.Task`."""
        return PythonRenderer(self, settings, self._ref)

    def fewshot_pool(self) -> Pool:
        """See :class:`~lmrun.tasks.task.Task`."""
        return self._raw_split(_POOL)

    def _raw_split(self, name: str) -> Split:
        if name not in self._loaded:
            self._loaded[name] = self.functions.class_docs(self._ref, pool=name == _POOL)
        return self._loaded[name]


class PythonRenderer(Renderer):
    """Has the class make the requests of each doc; the examples are chosen here."""

    def __init__(self, task: PythonTask, settings: PromptSettings, ref: FunctionRef) -> None:
        super().__init__(task, settings)
        self._requests_ref = replace(ref, member="requests")
        self._asked = {
            "apply_chat_template": settings.apply_chat_template,
            "fewshot_as_multiturn": settings.fewshot_as_multiturn,
            "system_instruction": settings.system_instruction,
            "generation": dict(settings.generation or {}),
        }

    def render(self, doc_id: int, doc: Doc) -> tuple[Request, ...]:
        """See :class:`~lmrun.tasks.render.Renderer`."""
        n, kept_out = self._num_fewshot, doc if self._excludes else None
        examples = self._sampler.sample(n, kept_out) if self._sampler else []
        with at_doc(self._config, doc_id):
            found = self._task.functions.call(self._requests_ref, doc, doc_id, examples, self._asked)
            requests = [self._request(*parts) for parts in found]
        return tuple(
            replace(request, sample_index=k, seed=self._settings.seed + k if is_sampled(request.generation) else None)
            for request in requests
            for k in range(self._config.repeats)
        )

    @staticmethod
    def _request(kind: Any, prompt: Any, second: Any) -> Request:
        if kind not in REQUEST_KINDS:
            raise PromptError(f"the class asks for {kind!r}, and there are {', '.join(REQUEST_KINDS)}")
        if isinstance(prompt, list):
            prompt = context_from_json([{"role": role, "content": content} for role, content in prompt])
        if kind == "generate_until":
            return Request(kind, prompt, generation=as_json(second))
        if not isinstance(second, str):
            raise PromptError(f"the class asks for the likelihood of {second!r}, which is not text")
        return Request(kind, prompt, second)


def _splits(data: DataSource, path: str | None, name: str | None, kwargs: Mapping[str, Any]) -> Mapping[str, Split]:
    from lmrun.data import DatasetSpec

    spec = DatasetSpec(path, name, kwargs)
    return {split: data.load(spec, split) for split in data.splits(spec)}


def _as_code(config: TaskConfig, ref: FunctionRef, facts: ClassTaskFacts) -> TaskConfig:
    """The configuration of a task that leaves everything to the members of the class's object."""
    metrics = [
        {"metric": name, "aggregation": known or replace(ref, member=f"aggregation:{name}"), "higher_is_better": higher}
        for name, known, higher in facts.metrics
    ]
    return replace(
        config,
        custom_dataset=ref,
        test_split=facts.split,
        doc_to_text="",
        doc_to_target=replace(ref, member="target"),
        process_results=replace(ref, member="process_results"),
        metric_list=metrics,
        filter_list=None if facts.filters is None else [dict(pipeline) for pipeline in facts.filters],
        fewshot_config=replace(config.fewshot_config, split=facts.split if facts.excludes else _POOL),
        num_fewshot=facts.num_fewshot,
        repeats=facts.repeats,
        generation_kwargs=facts.generation,
        metadata={**config.metadata, "version": facts.version},
    )
