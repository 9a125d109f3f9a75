"""All jobs of a model at once, for backends that work on many requests at a time and never need to see them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from lmrun.backends.base import Chunk, Needs, StreamingBackend
from lmrun.backends.generation import normalise
from lmrun.backends.tokenize import Unanswerable
from lmrun.engine.answer import Answerer, JobAddress
from lmrun.engine.budget import BudgetSpent, Guard
from lmrun.engine.estimate import upper_bound
from lmrun.engine.jobs import Job, JobEnds
from lmrun.engine.signals import interrupts, throw_into
from lmrun.engine.steering import LeftOut
from lmrun.errors import BackendError, ModelError
from lmrun.requests import Request
from lmrun.store.queue import Queue, Shape, Ticket


def needs_of(queue: Queue, job_id: int) -> Needs:
    """What the job's requests in the queue ask of a backend."""
    return needs_of_shape(queue.shape(job_id))


def needs_of_shape(shape: Shape) -> Needs:
    """What requests of such a shape ask of a backend."""
    wanted = []
    for generation in shape.generations:
        try:
            wanted.append(normalise(generation))
        except Unanswerable:
            continue  # such requests become errors one by one, with the words of the backend
    return Needs(
        kinds=shape.kinds,
        messages=shape.messages,
        prefill=shape.prefill,
        sampled=any(generation.sample for generation in wanted),
        phrases=shape.phrases,
        longest=shape.longest,
        most_stops=max((len(generation.until) for generation in wanted), default=0),
    )


@dataclass(slots=True)
class ModelStream:
    """Hands the requests of a model's jobs out, files the answers, and scores each job as soon as it has its last."""

    answerer: Answerer
    ends: JobEnds
    jobs: Sequence[Job]
    """In the order in which they are asked."""
    open: dict[int, Ticket] = field(default_factory=dict)
    """By position: what is handed out and not answered."""
    _left: dict[int, int] = field(default_factory=dict)
    """By job id, in order: how many of the requests that it asks first have no answer."""
    _waiting: dict[int, Job] = field(default_factory=dict)
    """By id: jobs that have not all their answers."""
    _sharing: set[int] = field(default_factory=set)
    """Ids of jobs that wait for requests of earlier jobs as well."""
    _left_out: dict[int, JobAddress] = field(default_factory=dict)
    """By id: jobs of which nothing more is wanted for their own sake."""
    _handed_out: int = 0
    """The last position that was."""

    def run(self, ready: Callable[[], StreamingBackend]) -> None:
        """Ask everything that the backend can answer; the queue holds all jobs. ``ready`` loads it.

        Raises:
            BackendError: it answers nothing any more. Jobs that are complete are scored all the same.
            BudgetSpent: the same.
            KeyboardInterrupt: what was in flight is answered or given up; the backend's usage says how much.
        """
        queue = self.answerer.store.queue
        if first := next(queue.unanswered(), None):  # a spent budget needs no backend
            self.answerer.budget.guard(self.jobs[0].address.model).require(upper_bound(first[2]))
        for job in self._accepted(ready):
            self._waiting[job.address.id] = job
            self._left[job.address.id] = queue.left(job.address.id).requests
            if queue.shares(job.address.id):
                self._sharing.add(job.address.id)
            self.answerer.tracker.update(job.address.model, job.address.label, state="answering")
        self._complete()
        try:
            if self._waiting:
                self._file(ready())
        except (BackendError, BudgetSpent):
            self.ends.finish()
            raise
        finally:
            queue.clear()
        self.ends.finish()

    def _accepted(self, ready: Callable[[], StreamingBackend]) -> list[Job]:
        """The jobs that the backend can answer; the queue is rid of the others."""
        queue = self.answerer.store.queue
        accepted, refused = [], False
        for job in self.jobs:
            needs = needs_of(queue, job.address.id)
            self.answerer.steering.checkpoint()
            backend = ready() if needs.kinds else None
            self.answerer.tracker.update_model(job.address.model, state="checking")
            self.answerer.tracker.phase("checking", f"{job.address.model} {job.address.label}")
            try:
                if backend:
                    backend.check(needs)
                accepted.append(job)
            except ModelError:
                raise
            except BackendError as error:
                refused = True
                self.ends.fail(job, error)
        if refused:  # another job may ask some of the same
            self.answerer.enqueue([job.address for job in accepted])
        return accepted

    def _file(self, backend: StreamingBackend) -> None:
        addresses = {job.address.id: job.address for job in self._waiting.values()}
        first = next(iter(addresses.values()))
        self.answerer.tracker.phase("answering", first.model)
        self.answerer.tracker.update_model(first.model, state="answering")
        guard = self.answerer.budget.guard(first.model)
        chunks = guard.stream(backend.stream, self._requests())
        steering = self.answerer.steering
        with interrupts.deferred(), steering.driving(first.model, backend):
            while (chunk := self._next(chunks, guard)) is not None:
                answers = [(self.open.pop(position), response) for position, response in chunk]
                if answers:
                    self.answerer.keep(first.fingerprint, addresses, answers)
                    for ticket, _ in answers:
                        self._left[ticket.job_id] -= 1
                    self._complete()
                self.ends.step()

    def _next(self, chunks: Iterator[Chunk], guard: Guard) -> Chunk | None:
        """The next chunk. An interrupt is raised inside the backend, where it waits at a yield: no answer is lost."""
        self.answerer.steering.checkpoint()
        self.answerer.gauges.sample()
        self._leave_out(guard)
        if interrupts.take():
            self.answerer.tracker.phase("draining", "what is on its way is waited for; Ctrl-C again leaves it")
            return throw_into(chunks, KeyboardInterrupt())
        return next(chunks, None)

    def _requests(self) -> Iterator[tuple[int, Request]]:
        for position, ticket, request in self.answerer.store.queue.unanswered():
            if ticket.job_id in self._left_out and not self.answerer.store.queue.holds(position):
                continue
            self.open[position] = ticket
            self._handed_out = position
            yield position, request

    def _leave_out(self, guard: Guard) -> None:
        """Ask no more of the jobs that the user wants left out; what other jobs need of them is asked all the same."""
        steering, tracker = self.answerer.steering, self.answerer.tracker
        unwanted = [j for j in self._waiting.values() if steering.is_left_out(j.address.model, j.address.label)]
        if not unwanted:
            return
        for job in unwanted:
            self._left_out[job.address.id] = self._waiting.pop(job.address.id).address
            self.ends.fail(job, LeftOut())
        queue = self.answerer.store.queue
        dropped = steering.drop(queue.unneeded(self._left_out, self._waiting, self.open))
        for position in dropped:
            del self.open[position]
            guard.release(position)
        gone = queue.leave_out(self._left_out, self._waiting, self._handed_out, dropped)
        for job_id, left in gone.items():
            self._left[job_id] -= left.requests
            address = self._left_out[job_id]
            tracker.forgo(address.model, address.label, left.requests, left.cost)
        self._complete()

    def _complete(self) -> None:
        """Hand jobs with all their answers over to be scored."""
        earlier = 0
        for job_id, left in self._left.items():
            if not left and job_id in self._waiting and not (earlier and job_id in self._sharing):
                self.ends.add(self._waiting.pop(job_id))
            earlier += left
