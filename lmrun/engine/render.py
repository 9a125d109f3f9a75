"""Render the docs of a job into requests and store them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice

from lmrun.engine.facts import task_facts
from lmrun.engine.plan import PlannedJob
from lmrun.errors import TaskError
from lmrun.requests import Request, canonical_json, content_keys, context_as_json
from lmrun.scoring import unknown_golds
from lmrun.store.records import SampleRecord
from lmrun.store.writer import RunStore

_DOCS_PER_TRANSACTION = 200


class JobRenderer:
    """Renders one job for one model; ``prompt_hash`` is known when all docs are rendered."""

    def __init__(self, job: PlannedJob, fingerprint: str) -> None:
        self._job = job
        self._fingerprint = fingerprint
        self._prompts = hashlib.blake2b(digest_size=16)
        self.unknown_golds = 0
        """Docs so far whose target is none of their choices."""

    @property
    def prompt_hash(self) -> str:
        """Hash over every request in order, whatever the model."""
        return self._prompts.hexdigest()

    def samples(self) -> Iterator[SampleRecord]:
        """Docs with their requests, in doc order."""
        renderer = self._job.task.renderer(self._job.prompts)
        for doc_id, doc in self._job.task.eval_docs(self._job.limit):
            try:
                requests = renderer.render(doc_id, doc)
                facts = task_facts(self._job.task, doc_id, doc)
                self.unknown_golds += unknown_golds(self._job.scoring, facts)
                _require_storable(requests)
                keyed = self._keyed(requests)
            except (TaskError, UnicodeEncodeError) as error:
                yield SampleRecord(doc_id, doc, None, None, None, (), {"kind": "not_rendered", "message": str(error)})
                continue
            yield SampleRecord(doc_id, doc, facts.target, facts.text, facts.choices, keyed)

    def _keyed(self, requests: tuple[Request, ...]) -> list[tuple[int, int, str, Request]]:
        """(position within the doc, repeat, content key, request); repeats of one request follow one another."""
        keyed = []
        position = -1
        for request in requests:
            position += request.sample_index == 0
            of_any, key = content_keys(("", self._fingerprint), request)
            self._prompts.update(of_any.encode())
            keyed.append((position, request.sample_index, key, request))
        return keyed


def _require_storable(requests: Sequence[Request]) -> None:
    """Raise UnicodeEncodeError for half a surrogate pair in a text."""
    for context in {id(request.context): request.context for request in requests}.values():
        (context if isinstance(context, str) else canonical_json(context_as_json(context))).encode()
    for request in requests:
        request.continuation.encode()


def render_job(store: RunStore, job_id: int, renderer: JobRenderer) -> Iterator[int]:
    """Store the job's samples; yields how many are stored so far."""
    store.clear_samples(job_id)
    samples = renderer.samples()
    count = 0
    while batch := list(islice(samples, _DOCS_PER_TRANSACTION)):
        store.add_samples(job_id, batch)
        count += len(batch)
        yield count
    store.finish_rendering(job_id, renderer.prompt_hash)
