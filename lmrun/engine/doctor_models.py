"""Look at the models of a manifest: what their servers can do, and whether that is enough for its tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from lmrun.backends.base import Capability, ModelIdentity, Needs, StreamingBackend
from lmrun.engine.inputs import Overrides, open_manifest, open_sources
from lmrun.engine.plan import PlannedJob, PlannedModel, plan_jobs, plan_models
from lmrun.engine.stream import needs_of_shape
from lmrun.errors import BackendError, LmrunError
from lmrun.requests import Request
from lmrun.store.queue import Shape

_DOCS = 20
"""Docs of a task that are rendered, to see what it asks."""


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What was found out about one model."""

    name: str
    backend: str
    model: str
    capabilities: Sequence[Capability]

    @property
    def fit(self) -> bool:
        """It can answer what the manifest's tasks ask."""
        return not any(c.state == "no" and c.name in (*_VITAL, *_tasks(self.capabilities)) for c in self.capabilities)


_VITAL = ("identity", "ready", "address", "answers")
"""Without these nothing can be asked; other things that a server cannot do matter only to tasks that need them."""
_TASK = "task "


def _tasks(capabilities: Sequence[Capability]) -> list[str]:
    return [c.name for c in capabilities if c.name.startswith(_TASK)]


def examine_models(name: str, overrides: Overrides) -> Iterator[ModelReport]:
    """Each model of a manifest, asked about what its tasks need.

    Raises:
        LmrunError: the manifest or its tasks are wrong.
    """
    manifest = open_manifest(name, overrides)
    jobs, _ = plan_jobs(manifest.tasks, open_sources(manifest))
    needs = {job.label: _needs(job) for job in jobs}
    for model in plan_models(manifest.models, manifest.data.offline):
        spec = model.spec
        yield ModelReport(spec.name, spec.backend, spec.model, list(_examine(model, needs)))


def _needs(job: PlannedJob) -> Needs:
    renderer = job.task.renderer(job.prompts)
    docs = job.task.eval_docs(min(_DOCS, job.n_docs))
    return needs_of_shape(_shape([request for doc in islice(docs, _DOCS) for request in renderer.render(*doc)]))


def _shape(requests: Sequence[Request]) -> Shape:
    chats = [request.context for request in requests if not isinstance(request.context, str)]
    scored = [request.continuation.strip(" ") for request in requests if request.kind == "loglikelihood"]
    return Shape(
        kinds=frozenset(request.kind for request in requests),
        messages=bool(chats),
        prefill=any(chat and chat[-1].role == "assistant" for chat in chats),
        phrases=any(" " in continuation for continuation in scored),
        longest=max(map(len, scored), default=0),
        generations=[dict(request.generation) for request in requests],
    )


def _examine(model: PlannedModel, needs: Mapping[str, Needs]) -> Iterator[Capability]:
    if model.identity is None:
        assert model.error is not None
        yield Capability("identity", "no", model.error.message, model.error.hint or "")
        return
    backend = model.make(None)
    if not isinstance(backend, StreamingBackend):
        yield from _told(model.identity, needs)
        return
    try:
        yield from _asked(backend, needs)
    finally:
        backend.close()


def _told(identity: ModelIdentity, needs: Mapping[str, Needs]) -> Iterator[Capability]:
    """What is known of a model that is not loaded."""
    facts = identity.facts
    yield Capability("identity", "yes", identity.fingerprint)
    for name in ("dtype", "max_length"):
        if facts.get(name) is not None:
            yield Capability(name.replace("max_length", "context length"), "yes", str(facts[name]))
    if "chat_template" in facts:
        template = facts["chat_template"]
        yield Capability("chat template", "yes" if template else "no", template or "none")
        for label in [label for label, need in needs.items() if need.messages and not template]:
            yield Capability(f"{_TASK}{label}", "no", "asks in chat format", "name a template as chat_template")


def _asked(backend: StreamingBackend, needs: Mapping[str, Needs]) -> Iterator[Capability]:
    try:
        backend.load()
    except BackendError as error:
        yield Capability("ready", "no", error.message, error.hint or "")
        return
    found = list(backend.capabilities())
    yield from found
    if any(c.state == "no" and c.name in _VITAL for c in found):
        return
    labels: defaultdict[Needs, list[str]] = defaultdict(list)
    for label, need in needs.items():
        labels[need].append(label)
    for need, together in labels.items():
        yield _task(backend, need, together)


def _task(backend: StreamingBackend, need: Needs, labels: Sequence[str]) -> Capability:
    title = f"{_TASK}{labels[0]}" + (f" and {len(labels) - 1} more" if len(labels) > 1 else "")
    try:
        backend.check(need)
    except LmrunError as error:
        return Capability(title, "no", error.message, error.hint or "")
    return Capability(title, "yes", ", ".join(sorted(need.kinds)))
