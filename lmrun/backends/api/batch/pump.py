"""Carries requests to a provider's batch API and brings the answers back, through crashes and restarts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from lmrun.backends.api.answers import Parts, annotated, failure
from lmrun.backends.api.batch.http import BatchHttp
from lmrun.backends.api.batch.providers import Progress, Provider, expired
from lmrun.backends.api.batch.records import Waiting, Watched, custom_id_of
from lmrun.backends.api.batch.state import Batch, Draft, Folder, read_lines
from lmrun.backends.api.call import Wire
from lmrun.backends.api.dialect import Dialect
from lmrun.backends.api.failures import Failed
from lmrun.backends.api.feed import Feed, Item
from lmrun.backends.api.loop import LoopThread
from lmrun.backends.api.options import ApiOptions
from lmrun.backends.api.pump import IDLE, Gone, answers_of
from lmrun.backends.api.sender import read_reply
from lmrun.backends.base import Chunk, Usage
from lmrun.errors import BackendError
from lmrun.requests import Request, Response

T = TypeVar("T")
MOST_WAITING = 200_000
"""Requests that are at the provider, or on the way to it, at most: what is kept in memory of them is little."""
CHUNK = 500
"""Answers that are handed over, and made durable, together."""
FIRST_POLL, LAST_POLL = 0.5, 60.0
"""Seconds between two looks at a batch, at first and in the end."""
FIRST_HOLD, LAST_HOLD = 15.0, 600.0
"""Seconds until something is submitted again, where the provider has enough for the moment."""

_log = logging.getLogger(__name__)


class BatchPump:
    """One stream of requests through a batch API. ``stream`` is that of :class:`~lmrun.backends.api.pump.Pump`."""

    def __init__(
        self,
        wire: Wire,
        options: ApiOptions,
        dialect: Dialect,
        thread: LoopThread,
        connect: Callable[[], tuple[BatchHttp, Provider]],
        state: Path,
    ) -> None:
        self._wire, self._options, self._dialect, self._thread = wire, options, dialect, thread
        self._connect = connect
        self._folder = Folder(state)
        self._http: BatchHttp
        self._provider: Provider
        self._draft: Draft
        self._ready: deque[Batch] = deque()
        """Files that are complete and wait to be submitted."""
        self._watched: dict[str, Watched] = {}
        self._where: dict[str, Batch] = {}
        """The batch in which a request is."""
        self._waiting: dict[str, Waiting] = {}
        self._samples: dict[int, int] = {}
        self._parts = Parts()
        self._most = 0
        self._hold, self._patience = 0.0, FIRST_HOLD
        self._pending: Future[Any] | None = None
        self._submitting = False
        self._phase = ""

    def stream(self, requests: Iterator[tuple[int, Request]]) -> Iterator[Chunk]:
        """Answers as batches end; see :meth:`~lmrun.backends.base.StreamingBackend.stream`. Raises :class:`Gone`."""
        self._http, self._provider = self._thread.run(self._open())
        self._draft = Draft(self._folder, self._provider.frame)
        self._most = self._provider.most_requests
        try:
            yield from self._adopt()
            yield from self._send(requests)
            while self._ready or any(watched.wanted for watched in self._watched.values()):
                yield from self._step()
        except KeyboardInterrupt:
            self._let_arrive()
            raise KeyboardInterrupt(self._left_behind()) from None
        except Failed as failed:
            raise Gone(failed) from failed
        finally:
            self._end()

    def usage(self) -> Usage:
        """How far the batches are."""
        waiting = sum(len(watched.batch.custom_ids) for watched in self._watched.copy().values())
        return Usage(phase=self._phase, facts={"batches": len(self._watched), "at_provider": waiting})

    # -- reading and submitting ----------------------------------------------------------------------------------------

    def _adopt(self) -> Iterator[Chunk]:
        """Find the batches of earlier processes again."""
        batches = self._folder.load()
        for batch in batches:
            if batch.id is None:
                others = {other.id for other in batches if other.id}
                batch.id = yield from self._await(self._provider.find(batch, others))
                if batch.id is None:
                    self._folder.remove(batch)
                    continue
                self._folder.save(batch)
            self._watched[batch.name] = Watched(batch, FIRST_POLL, wanted=False)
            self._where.update(dict.fromkeys(batch.custom_ids, batch))
            _log.info("batch found again", extra={"fields": {"batch": batch.id, "requests": len(batch.custom_ids)}})

    def _send(self, requests: Iterator[tuple[int, Request]]) -> Iterator[Chunk]:
        """Read all requests; those that are in no batch yet are submitted."""
        feed, shown = Feed(self._noted(requests), self._wire), time.monotonic()
        while not feed.exhausted:
            taken = feed.take(CHUNK)
            chunk = [one for one in taken if not isinstance(one, Item)]
            for one in taken:
                if isinstance(one, Item):
                    self._take(one)
            if chunk or time.monotonic() - shown >= IDLE:
                yield chunk
                shown = time.monotonic()
            if len(self._waiting) >= MOST_WAITING:
                self._finish_draft()
            while self._ready or len(self._waiting) >= MOST_WAITING:
                yield from self._step()
        self._finish_draft()

    def _noted(self, requests: Iterator[tuple[int, Request]]) -> Iterator[tuple[int, Request]]:
        for position, request in requests:
            if request.sample_index:
                self._samples[position] = request.sample_index
            yield position, request

    def _take(self, item: Item) -> None:
        call = item.call
        custom_id = custom_id_of(call, [self._samples.get(position, 0) for position in call.owners])
        waiting = self._waiting.setdefault(custom_id, Waiting())
        waiting.items.append(item._replace(call=replace(call, body={})))
        batch = self._where.get(custom_id)
        if batch and batch.name in self._watched:
            self._watched[batch.name].wanted = True
        elif not batch and len(waiting.items) == 1:
            self._write(custom_id, call.path, call.body)

    def _write(self, custom_id: str, path: str, body: Mapping[str, Any]) -> None:
        """Put a request into the file that is submitted next."""
        sent = self._dialect.apply(body)
        waiting = self._waiting[custom_id]
        waiting.notes = {**waiting.notes, **self._dialect.notes(body, sent)}
        line = self._provider.line(custom_id, path, sent)
        if len(self._draft) >= self._most or self._draft.size + len(line) + 100 > self._provider.most_bytes:
            self._finish_draft()
        self._draft.add(custom_id, line)

    def _finish_draft(self) -> None:
        if len(self._draft):
            batch = self._draft.finish()
            self._ready.append(batch)
            self._where.update(dict.fromkeys(batch.custom_ids, batch))
            self._draft = Draft(self._folder, self._provider.frame)

    async def _submit(self, batch: Batch) -> None:
        """Send a batch, unless it has arrived already: a reply can be lost on its way."""
        self._folder.save(batch)
        others = {watched.batch.id for watched in self._watched.values() if watched.batch.id}
        sent = False

        async def attempt() -> str:
            nonlocal sent
            found = await self._provider.find(batch, others) if sent else None
            sent = True
            return found or await self._provider.submit(batch, self._folder.requests(batch.name))

        try:
            batch.id = await self._http.retried(attempt)
        except Failed as failed:
            if not failed.retryable:
                self._folder.remove(batch)
            if failed.kind == "not_found":
                raise BackendError(f"there is no batch API here: {failed}", hint='use mode = "live"') from failed
            raise
        self._folder.save(batch)
        self._watched[batch.name] = Watched(batch, FIRST_POLL, time.monotonic() + FIRST_POLL)
        _log.info("batch submitted", extra={"fields": {"batch": batch.id, "requests": len(batch.custom_ids)}})

    # -- looking after batches -----------------------------------------------------------------------------------------

    def _step(self) -> Iterator[Chunk]:
        """Submit a batch, or wait for one, or take its answers."""
        now = time.monotonic()
        if self._ready and now >= self._hold:
            self._submitting = True
            yield from self._await(self._submit(self._ready[0]))
            self._submitting = False
            self._ready.popleft()
            return
        wanted = (watched for watched in self._watched.values() if watched.wanted)
        next_one = min(wanted, key=lambda watched: watched.due, default=None)
        due = min(next_one.due if next_one else now + LAST_HOLD, self._hold if self._ready else now + LAST_HOLD)
        if due > now:
            self._show()
            yield []
            time.sleep(min(IDLE / 2, due - now))
        elif next_one:
            yield from self._look_at(next_one)

    def _look_at(self, watched: Watched) -> Iterator[Chunk]:
        try:
            progress = yield from self._await(self._provider.poll(watched.batch.id or ""))
        except Failed as failed:
            self._unseen(watched.batch, failed)
            progress = Progress(False, watched.done)
        if progress.ended:
            yield from self._collect(watched.batch, progress)
            return
        watched.done = progress.done
        watched.interval = min(watched.interval * 1.5, LAST_POLL)
        watched.due = time.monotonic() + watched.interval

    def _unseen(self, batch: Batch, failed: Failed) -> None:
        """A batch at the provider is paid for: no weather on the way to it is a reason to give it up."""
        if failed.status == 404:
            file = self._folder.state(batch.name)
            raise BackendError(
                f"the provider does not know the batch {batch.id}, in which {len(batch.custom_ids):,} requests are",
                hint=f"use the key it was submitted with; to submit its requests again, delete {file}",
            ) from failed
        if not failed.retryable:
            raise failed
        _log.warning("batch cannot be looked at", extra={"fields": {"batch": batch.id, "error": str(failed)}})

    def _show(self) -> None:
        total = sum(len(watched.batch.custom_ids) for watched in self._watched.values())
        done = sum(watched.done for watched in self._watched.values())
        count = len(self._watched)
        self._phase = f"{count} batch{'es' * (count != 1)} at the provider: {done:,} of {total:,} requests done"
        if self._ready:
            self._phase += f"; {len(self._ready)} held back until the provider takes more"

    # -- answers -------------------------------------------------------------------------------------------------------

    def _collect(self, batch: Batch, progress: Progress) -> Iterator[Chunk]:
        """Everything that came out of a batch, which is forgotten once that is safe."""
        if progress.refused:
            self._refused(batch, progress.refused)
            failures = dict.fromkeys(batch.custom_ids, progress.refused)
        else:
            self._hold, self._patience = 0.0, FIRST_HOLD
            failures = {}
            yield from self._download(batch, progress)
            yield from self._read(batch, failures)
        chunk = list(self._again(batch, failures))
        if chunk:
            yield chunk
        self._finish_draft()
        batch.custom_ids = [custom_id for custom_id in batch.custom_ids if self._where.get(custom_id) is batch]
        if batch.custom_ids:
            self._folder.save(batch)
            self._watched[batch.name].wanted = False
        else:
            del self._watched[batch.name]
            self._folder.remove(batch)

    def _download(self, batch: Batch, progress: Progress) -> Iterator[Chunk]:
        file = self._folder.results(batch.name)
        file.unlink(missing_ok=True)
        file.touch()
        try:
            for path in progress.results:
                yield from self._await(self._http.download(path, file))
        except Failed as failed:
            self._unseen(batch, failed)
            raise

    def _read(self, batch: Batch, failures: dict[str, Failed]) -> Iterator[Chunk]:
        """Answers in the file of results; what failed is put into ``failures``."""
        chunk: list[tuple[int, Response]] = []
        for line in read_lines(self._folder.results(batch.name)):
            custom_id, outcome = self._provider.outcome(line)
            if self._where.get(custom_id) is not batch or custom_id in failures or custom_id not in self._waiting:
                continue
            try:
                chunk.extend(self._answers(custom_id, outcome, batch))
            except Failed as failed:
                failures[custom_id] = failed
            if len(chunk) >= CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk
        for custom_id in batch.custom_ids:
            if self._where.get(custom_id) is batch and custom_id in self._waiting:
                failures.setdefault(custom_id, expired())

    def _answers(
        self, custom_id: str, outcome: Mapping[str, Any] | Failed, batch: Batch
    ) -> Iterator[tuple[int, Response]]:
        if isinstance(outcome, Failed):
            raise outcome
        waiting = self._waiting[custom_id]
        read = [read_reply(partial(answers_of, item.call), outcome) for item in waiting.items]
        notes = {**waiting.notes, "batch": batch.id}
        for item, responses in zip(waiting.items, read, strict=True):
            told = [annotated(response, waiting.attempts, item.call.notes, notes) for response in responses]
            yield from self._parts.whole(item.call, told)
        del self._waiting[custom_id], self._where[custom_id]

    def _again(self, batch: Batch, failures: dict[str, Failed]) -> Iterator[tuple[int, Response]]:
        """Write what is worth it into the next file; the rest are errors."""
        for line in read_lines(self._folder.requests(batch.name)) if failures else ():
            custom_id = line["custom_id"]
            failed = failures.get(custom_id)
            if failed and custom_id in self._waiting and self._is_asked_again(custom_id, failed, line):
                del failures[custom_id], self._where[custom_id]
                self._write(custom_id, self._waiting[custom_id].items[0].call.path, self._provider.body(line))
        for custom_id, failed in failures.items():
            waiting = self._waiting.pop(custom_id, Waiting())
            self._where.pop(custom_id, None)
            failed.attempts = waiting.attempts
            for item in waiting.items:
                response = failure(failed, item.generates)
                told = annotated(response, waiting.attempts, item.call.notes, waiting.notes, {"batch": batch.id})
                yield from self._parts.whole(item.call, [told] * len(item.call.owners))

    def _is_asked_again(self, custom_id: str, failed: Failed, line: Mapping[str, Any]) -> bool:
        if failed.fatal:
            raise failed
        waiting = self._waiting[custom_id]
        if failed.kind == "batch_refused":
            return True  # it was not asked at all
        sent = self._provider.body(line)
        taught = self._dialect.repair(failed.status or 0, failed.reply, sent)
        if not taught and not (failed.retryable and waiting.attempts < self._options.retry.attempts):
            return False
        waiting.attempts += not taught
        return True

    def _refused(self, batch: Batch, failed: Failed) -> None:
        """Nothing of a batch was done. Where the provider has enough for now, smaller batches are tried later."""
        if not failed.retryable:
            self._folder.remove(batch)
            raise BackendError(
                f"the provider refuses the batch {batch.id}: {failed.message}",
                hint='see what it says of batches for this model, or use mode = "live"',
            )
        self._most = max(1, len(batch.custom_ids) // 2)
        self._hold = time.monotonic() + self._patience
        self._patience = min(2 * self._patience, LAST_HOLD)

    # -- the loop ------------------------------------------------------------------------------------------------------

    async def _open(self) -> tuple[BatchHttp, Provider]:
        return self._connect()

    def _await(self, coroutine: Coroutine[Any, Any, T]) -> Generator[Chunk, None, T]:
        """The result of a coroutine, with empty chunks while it takes its time."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._thread.loop)
        self._pending = future
        while not wait([future], IDLE / 2).done:
            yield []
        self._pending = None
        return future.result()

    def _let_arrive(self) -> None:
        """Wait for a submission that is on its way; without its answer it would have to be looked for."""
        if self._submitting and self._pending:
            wait([self._pending])

    def _left_behind(self) -> str:
        count = sum(len(watched.batch.custom_ids) for watched in self._watched.values())
        if not count:
            return "no batch is at the provider"
        ids = ", ".join(watched.batch.id or "" for watched in self._watched.values())
        text = f"{count:,} requests stay at the provider ({ids}); the same command fetches their answers"
        _log.warning(text)
        return text

    def _end(self) -> None:
        if self._pending:
            self._pending.cancel()
        self._draft.close()
        self._thread.run(self._http.close())
