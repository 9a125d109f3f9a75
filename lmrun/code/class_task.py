"""Tasks that are Python classes, within the process that runs them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from lmrun.code.plain import NotPlainError
from lmrun.code.shim import metrics
from lmrun.code.shim.task import Doc, Given, Prompt, Splits
from lmrun.requests import Message
from lmrun.scoring.aggregations import SIMPLE


class ClosedSplits(Mapping[str, Any]):
    """The dataset of an object that is made for scoring alone."""

    def __getitem__(self, split: str) -> Any:
        raise LookupError(f"split {split!r} is not open: the class needs its dataset, and there are only answers here")

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


class LazySplits(dict[str, Any]):
    """Splits that are read when the class asks for them."""

    def __init__(self, packed: Mapping[str, Any]) -> None:
        super().__init__(dict.fromkeys(packed))
        self._packed = packed

    def __getitem__(self, split: str) -> Any:
        from lmrun.code.transfer import dataset

        if super().__getitem__(split) is None:
            self[split] = dataset(self._packed[split])
        return super().__getitem__(split)


class _Examples:
    """The sampler of the object: the examples have been chosen already."""

    def __init__(self, docs: Sequence[Doc]) -> None:
        self._docs = docs

    def sample(self, n: int, eval_doc: Any = None, **kwargs: Any) -> Sequence[Doc]:
        return self._docs[:n]


class ClassTask:
    """The object of a class task, and what lmrun asks it for; each public method is a member that a reference names."""

    def __init__(self, cls: Any, config: Mapping[str, Any], splits: Splits | None) -> None:
        """Raises :class:`~lmrun.code.shim.task.DatasetNeededError` where the class wants splits and there are none."""
        Given.splits = splits
        try:
            self._task = cls(config=dict(config)) if "config" in inspect.signature(cls).parameters else cls()
        finally:
            Given.splits = None
        self._name = config.get("task")
        if hasattr(self._task, "config"):
            self._task.config.task = self._name
            self._generation = dict(self._task.config.generation_kwargs or {})

    def facts(self) -> dict[str, Any]:
        """What :class:`lmrun.functions.ClassTaskFacts` holds."""
        task, config = self._task, self._task.config
        if getattr(task, "MULTIMODAL", False):
            raise NotImplementedError("the task shows images or plays sound to the model, which lmrun cannot do yet")
        higher = task.higher_is_better()
        return {
            "version": task.VERSION,
            "split": "test" if task.has_test_docs() else "validation",
            "num_fewshot": config.num_fewshot,
            "repeats": config.repeats,
            "generation": self._generation,
            "excludes": config.fewshot_config.split == config.test_split,
            "metrics": [(name, _aggregation_name(how), higher.get(name)) for name, how in task.aggregation().items()],
            "filters": config.filter_list,
        }

    def docs(self, pool: bool) -> Any:
        """The docs for examples, or those that are evaluated."""
        return self._task.fewshot_docs() if pool else self._task.eval_docs

    def target(self, doc: Doc) -> Any:
        """What the doc's answer is, for people who look at a sample."""
        return self._task.doc_to_target(doc)

    def requests(self, doc: Doc, doc_id: int, examples: Sequence[Doc], settings: Mapping[str, Any]) -> Any:
        """The requests of a doc: kind, context (text, or the messages of a chat), second argument."""
        task, chat = self._task, settings["apply_chat_template"]
        template = _chat_template if chat else None
        task.sampler = _Examples(examples)
        task.config.generation_kwargs = {**self._generation, **settings["generation"]}
        prompt = task.fewshot_context(
            doc,
            num_fewshot=len(examples),
            system_instruction=settings["system_instruction"],
            apply_chat_template=chat,
            fewshot_as_multiturn=settings["fewshot_as_multiturn"],
            chat_template=template,
            gen_prefix=task.doc_to_prefix(doc),
        )
        about = (self._name, doc_id, task.config.repeats)
        made = task.construct_requests(
            doc=doc, ctx=prompt, metadata=about, apply_chat_template=chat, chat_template=template
        )
        instances = sorted(made if isinstance(made, list) else [made], key=lambda instance: instance.idx)
        return [(instance.request_type, *_arguments(instance, chat)) for instance in instances]

    def process_results(self, doc: Doc, results: Sequence[Any]) -> Any:
        """The metrics of a doc. As lm-eval gives them, answers to log-likelihoods are pairs."""
        return self._task.process_results(doc, [tuple(r) if isinstance(r, list) else r for r in results])

    def aggregation(self, metric: str, items: Sequence[Any]) -> Any:
        """The value of a metric over all docs."""
        return self._task.aggregation()[metric]([tuple(i) if isinstance(i, list) else i for i in items])


def _aggregation_name(how: Any) -> str | None:
    if isinstance(how, str):
        return how
    return next((name for name in SIMPLE if getattr(metrics, name, None) is how), None)


def _chat_template(messages: Sequence[Any], **kwargs: Any) -> Prompt:
    return Prompt.of([m if isinstance(m, Message) else Message(m["role"], m["content"]) for m in messages])


def _arguments(instance: Any, chat: bool) -> tuple[Any, Any]:
    if instance.request_type == "loglikelihood_rolling":
        return "", instance.args[0]
    if len(instance.args) > 2:
        raise NotPlainError("a request has more than a prompt and one argument, images for example")
    prompt, second = instance.args
    if isinstance(prompt, Prompt):
        return [(message.role, message.content) for message in prompt.messages], second
    if chat and prompt:
        raise NotPlainError("the class changes the prompt after the chat template; run it without one")
    return prompt, second
