"""Commands to a running engine: given in any thread, carried out by the engine's own, at its next chunk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Lock

from lmrun.backends.base import Steerable
from lmrun.engine.control.protocol import Command, Reply
from lmrun.engine.progress import Tracker
from lmrun.engine.signals import interrupts
from lmrun.errors import LmrunError, did_you_mean
from lmrun.store.log import RunLog

STEP = 1.25
"""How much faster or slower one command is."""
_LOOK = 0.2
"""Seconds between two looks around while paused."""


class LeftOut(LmrunError):  # noqa: N818 - a wish, nothing failed
    """What is left of a job is not asked, because somebody wants it so."""

    def __init__(self) -> None:
        super().__init__(
            "left out on request",
            hint="`lmrun batch` with the same manifest asks what is left of it, and so does `lmrun retry`",
        )


@dataclass(slots=True, eq=False)
class Asked:
    """A command on its way."""

    command: Command
    told: Callable[[], None]
    """Called when there is a reply."""
    reply: Reply | None = None

    def answer(self, reply: Reply) -> None:
        """Give the reply."""
        self.reply = reply
        self.told()


class Steering:
    """Where commands wait, and what they have changed so far."""

    def __init__(self, tracker: Tracker, log: RunLog) -> None:
        self._tracker, self._log = tracker, log
        self._lock = Lock()  # guards what is asked and whether it still can be
        self._asked: deque[Asked] = deque()
        self._over = False
        self._news = Event()
        # Belonging to the engine's thread.
        self.paused = False
        self._left_out: set[tuple[str, str]] = set()
        self._retry = False
        self._model = ""
        self._backend: Steerable | None = None
        self._do: dict[str, Callable[[Command], Reply]] = {
            "pause": self._pause,
            "resume": self._resume,
            "stop": self._stop,
            "faster": lambda _: self._scale(STEP),
            "slower": lambda _: self._scale(1 / STEP),
            "retry_errors": self._retry_errors,
            "skip_job": self._skip_job,
        }

    # -- in any thread -------------------------------------------------------------------------------------------------

    def ask(self, command: Command, told: Callable[[], None] = lambda: None) -> Asked:
        """Give a command; ``told`` is called when it has its reply."""
        asked = Asked(command, told)
        if command.do not in self._do:
            hint = did_you_mean(command.do, self._do) or f"known: {', '.join(self._do)}"
            asked.answer(Reply(False, f'there is no command "{command.do}"; {hint}'))
            return asked
        with self._lock:
            if self._over:
                asked.answer(Reply(False, "the run is over"))
                return asked
            self._asked.append(asked)
        self._news.set()
        if command.do == "stop" and interrupts.caught:
            interrupts.send()
            asked.answer(Reply(True, "stopping: what is in flight is waited for; stop again leaves it"))
        return asked

    def later(self) -> Reply:
        """The reply to a command that cannot be carried out yet."""
        return Reply(True, f"noted; the engine is {self._tracker.doing()} and comes to it as soon as it can")

    # -- in the engine's thread ----------------------------------------------------------------------------------------

    def poll(self) -> None:
        """Carry out what has been asked."""
        while self._asked:
            asked = self._asked.popleft()
            reply = self._do[asked.command.do](asked.command)
            command = asked.command
            self._log.write("info", "command", do=command.do, **command.arguments, by=command.who, **_fields(reply))
            if asked.reply is None:
                asked.answer(reply)

    def checkpoint(self) -> None:
        """Carry out what has been asked, and wait here while the run is paused, unless the backend holds requests back.

        Raises:
            KeyboardInterrupt: one was asked for, and nothing defers it.
        """
        self.poll()
        while self.paused and self._backend is None and not interrupts.waiting:
            self._news.wait(_LOOK)
            self._news.clear()
            self.poll()
        interrupts.check()

    @contextmanager
    def driving(self, model: str, backend: object) -> Iterator[None]:
        """This backend works on this model inside the block."""
        self._model = model
        self._backend = backend if isinstance(backend, Steerable) and backend.steerable else None
        self._tracker.update_model(model, steerable=self._backend is not None)
        try:
            if self._backend and self.paused:
                self._backend.hold(True)
            yield
        finally:
            if self._backend and self.paused:
                self._backend.hold(False)
            self._backend = None

    def drop(self, positions: Collection[int]) -> Collection[int]:
        """Which of these requests the backend forgets: they will have no answer."""
        return self._backend.drop(positions) if self._backend and positions else ()

    def is_left_out(self, model: str, label: str) -> bool:
        """Whether nothing more of a job is to be asked."""
        return (model, label) in self._left_out

    def take_retry(self) -> bool:
        """Whether errors are to be asked again now; if not, no more commands are taken."""
        with self._lock:
            if not any(asked.command.do == "retry_errors" for asked in self._asked) and not self._retry:
                self._over = True
        self.poll()
        wanted, self._retry = self._retry, False
        return wanted

    def close(self) -> None:
        """The run ends; whoever still waits is told."""
        with self._lock:
            self._over = True
        while self._asked:
            asked = self._asked.popleft()
            self._log.write("info", "command", do=asked.command.do, by=asked.command.who)
            if asked.reply is None:
                asked.answer(Reply(False, "the run is over"))

    # -- the commands --------------------------------------------------------------------------------------------------

    def _pause(self, _: Command) -> Reply:
        if self.paused:
            return Reply(True, "paused already")
        self._set_paused(True)
        return Reply(True, "paused: what is in flight is finished, nothing more is sent")

    def _resume(self, _: Command) -> Reply:
        if not self.paused:
            return Reply(True, "not paused")
        self._set_paused(False)
        return Reply(True, "resumed")

    def _set_paused(self, paused: bool) -> None:
        self.paused = paused
        self._tracker.pause(paused)
        if self._backend:
            self._backend.hold(paused)

    def _stop(self, _: Command) -> Reply:
        if not interrupts.caught:  # else the signal has come already
            interrupts.waiting += 1
        return Reply(True, "stopping: what is in flight is waited for; stop again leaves it")

    def _scale(self, factor: float) -> Reply:
        if self._backend is None:
            return Reply(False, f"{self._tracker.doing()}: how much is done at once cannot be changed now")
        return Reply(True, f"{self._model}: {self._backend.scale(factor)}")

    def _retry_errors(self, _: Command) -> Reply:
        self._retry = True
        return Reply(True, "errors are asked again once everything else is done")

    def _skip_job(self, command: Command) -> Reply:
        model, label = command.arguments.get("model", ""), command.arguments.get("label", "")
        state = self._tracker.job_state(model, label)
        if state is None:
            return Reply(False, f"there is no job {label} of a model {model}")
        if state in ("scoring", "done", "failed"):
            return Reply(False, f"{model} {label} is {state} already")
        self._left_out.add((model, label))
        return Reply(True, f"what is left of {model} {label} is not asked")


def _fields(reply: Reply) -> dict[str, object]:
    return {"ok": reply.ok, "reply": reply.words}
