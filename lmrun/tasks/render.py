"""From a doc to the requests that ask a model about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from lmrun.errors import Problem, TaskError
from lmrun.requests import Context, Request
from lmrun.tasks.config import TaskConfig, as_json
from lmrun.tasks.fewshot import FewshotSampler
from lmrun.tasks.prompt import Part, PromptError, context, system_part, turn

if TYPE_CHECKING:
    from lmrun.tasks.task import Task

Doc = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """What a run may say about the prompts of a task."""

    num_fewshot: int | None = None
    """None leaves it to the task. A task that states 0 itself stays at 0."""
    apply_chat_template: bool = False
    fewshot_as_multiturn: bool = False
    """With a chat template: each example is a turn of its own."""
    system_instruction: str | None = None
    generation: Mapping[str, Any] | None = None
    """Put over the task's ``generation_kwargs``, key by key (``generate_until`` only)."""
    compat: Literal["lm-eval"] | None = None
    """Do as lm-eval does even where that is plainly wrong."""
    seed: int = 1234
    """Of the choice of examples, and of sampled generations."""


def is_sampled(generation: Mapping[str, Any]) -> bool:
    """Whether the answer to a generation depends on chance."""
    do_sample = generation.get("do_sample")
    return bool(do_sample) if do_sample is not None else (generation.get("temperature") or 0) > 0


@contextmanager
def at_doc(config: TaskConfig, doc_id: int) -> Iterator[None]:
    """Name the task and the doc in what goes wrong; a sample that cannot be asked is recorded with that one line."""
    try:
        yield
    except PromptError as error:
        problems: tuple[Problem, ...] = (Problem(str(error), config.place("doc_to_text")),)
        raise TaskError(f"task {config.task!r}, doc {doc_id}: {error}", problems=problems) from error
    except TaskError as error:
        said = error.problems[0].message if error.problems else error.message
        raise TaskError(
            f"task {config.task!r}, doc {doc_id}: {said}", hint=error.hint, problems=error.problems
        ) from error


class Renderer:
    """Renders the docs of a task, which have to come in order: the choice of examples goes on from doc to doc."""

    def __init__(self, task: Task, settings: PromptSettings) -> None:
        self._task = task
        self._config = task.task_config
        self._settings = settings
        self._fields = task.fields
        self._num_fewshot = task.num_fewshot(settings)
        self._generation = as_json(task.generation(settings))
        self._seed = settings.seed if is_sampled(self._generation) else None
        has_prompt = task.output_type != "loglikelihood_rolling"
        self._sampler = self._make_sampler() if self._num_fewshot and has_prompt else None
        self._excludes = self._config.fewshot_config.split == self._config.test_split
        self._delimiter = self._continuation_delimiter()

    def render(self, doc_id: int, doc: Doc) -> tuple[Request, ...]:
        """The requests of one doc: choice by choice, and of each all its repeats (``sample_index`` 0, 1 …) in a row.

        Raises :class:`~lmrun.errors.TaskError` where the task does not fit the doc.
        """
        with at_doc(self._config, doc_id):
            requests = self._requests(doc)
        return tuple(
            replace(request, sample_index=k, seed=None if self._seed is None else self._seed + k)
            for request in requests
            for k in range(self._config.repeats)
        )

    def _make_sampler(self) -> FewshotSampler:
        place = self._config.fewshot_place("samples" if self._config.fewshot_config.split is None else "split")
        kind = str(self._config.fewshot_config.sampler)
        return FewshotSampler(kind, self._task.fewshot_pool(), self._settings.seed, self._task.name, place)

    def _continuation_delimiter(self) -> str:
        """What stands before a choice. A chat template ends the prompt itself, unless the answer was begun for it."""
        stated = self._config.target_delimiter
        if not self._settings.apply_chat_template:
            return stated
        prefix = self._config.gen_prefix
        return stated if prefix and not prefix[-1].isspace() else ""

    # -- one doc -----------------------------------------------------------------------------------

    def _requests(self, doc: Doc) -> list[Request]:
        output_type = self._config.output_type
        if output_type == "loglikelihood_rolling":
            return [Request(output_type, continuation=self._text_target(doc))]
        if output_type == "loglikelihood":
            return [Request(output_type, self._contexts(doc)[0], self._text_target(doc))]
        if output_type == "generate_until":
            return [Request(output_type, self._contexts(doc)[0], generation=self._generation)]
        return self._choice_requests(doc)

    def _text_target(self, doc: Doc) -> str:
        target = self._fields.target(doc)
        if not isinstance(target, str):
            raise PromptError(f"doc_to_target gives {target!r}, which is not text")
        return target

    def _choice_requests(self, doc: Doc) -> list[Request]:
        choices = self._fields.choices(doc) or []
        contexts = self._contexts(doc)
        if self._task.multiple_input:
            target = f"{self._delimiter}{self._fields.target(doc)}"
            asked = [Request("loglikelihood", context, target) for context in contexts]
        else:
            asked = [Request("loglikelihood", contexts[0], f"{self._delimiter}{choice}") for choice in choices]
        if any(entry["metric"] == "acc_mutual_info" for entry in self._task.metric_list):
            asked += [Request("loglikelihood", "", f"{self._delimiter}{choice}") for choice in choices]
        return asked

    def _contexts(self, doc: Doc) -> list[Context]:
        """The prompt; with ``multiple_input`` one per choice."""
        before = [*self._system(doc), *self._examples(doc)]
        prefix = self._fields.gen_prefix(doc)
        if self._task.multiple_input:
            options: Sequence[Any] = self._fields.choices(doc) or ()
            turns = [turn(option, None, None, prefix=prefix, target_delimiter="") for option in options]
        else:
            question, delimiter = self._fields.text(doc), self._config.target_delimiter
            turns = [turn(question, None, None, prefix=prefix, target_delimiter=delimiter)]
        as_chat, multiturn = self._settings.apply_chat_template, self._settings.fewshot_as_multiturn
        return [context([*before, *asked], as_chat=as_chat, multiturn=multiturn) for asked in turns]

    def _system(self, doc: Doc) -> list[Part]:
        description = self._fields.description(doc)
        return system_part(self._settings.system_instruction, description, self._config.fewshot_delimiter)

    def _examples(self, doc: Doc) -> list[Part]:
        if self._sampler is None:
            return []
        parts: list[Part] = []
        for example in self._sampler.sample(self._num_fewshot, doc if self._excludes else None):
            parts += self._example(example)
        return parts

    def _example(self, doc: Doc) -> list[Part]:
        fewshot = self._config.fewshot_config
        question: Any = self._fields.fewshot_text(doc)
        choices = self._fields.fewshot_choices(doc)
        if self._task.multiple_input:
            if choices is None or not isinstance(question, int):
                raise PromptError("the choices are the contexts, and an example has no choices or no index of one")
            question, choices = choices[question], None
        return turn(
            question,
            choices,
            self._fields.fewshot_target(doc),
            prefix=self._fields.fewshot_gen_prefix(doc),
            target_delimiter=fewshot.target_delimiter,
            fewshot_delimiter=fewshot.fewshot_delimiter,
        )
