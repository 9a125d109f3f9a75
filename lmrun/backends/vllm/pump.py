"""Keeps engines busy: reads requests ahead, asks, gives out answers as they come, and lives through one death."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from lmrun.backends.base import Chunk
from lmrun.backends.vllm.desk import Answers, Desk
from lmrun.backends.vllm.process import Engine, EngineDied, speaking
from lmrun.backends.vllm.questions import Question
from lmrun.errors import BackendError
from lmrun.requests import Request

_log = logging.getLogger(__name__)

READ_AHEAD = 2048
"""Requests, among which those that begin alike are brought together."""
_READ_AHEAD_TOKENS = 1 << 22
"""Of their prompts, at most: what is read ahead is held in memory."""
_PAUSE = 1.0
"""Seconds after which the caller is given an empty chunk."""


class Pump:
    """Answers requests with some engines.

    Args:
        desk: turns requests into questions.
        start: starts the engines, after so many deaths.
    """

    def __init__(self, desk: Desk, start: Callable[[int], Sequence[Engine]]) -> None:
        self._desk = desk
        self._start = start
        self._engines: Sequence[Engine] = ()
        self._waiting: deque[tuple[int, Question]] = deque()
        self._deaths = 0
        self._more = True
        self.drained = 0
        """Questions that were on their way at an interrupt, and were waited for."""
        self.abandoned = 0
        """Questions that were not waited for."""

    @property
    def engines(self) -> Sequence[Engine]:
        """The engines at work."""
        return self._engines

    @property
    def in_flight(self) -> int:
        """Questions that the engines have."""
        return sum(len(engine.asked) for engine in self._engines)

    def run(self, requests: Iterator[tuple[int, Request]]) -> Iterator[Chunk]:
        """Answer requests; see :meth:`~lmrun.backends.base.StreamingBackend.stream`."""
        self._more = True
        interrupt: KeyboardInterrupt | None = None
        chunk: Answers = []
        while True:
            try:
                if interrupt is None:
                    chunk += self._read(requests)
                if not (self._waiting or self.in_flight or chunk):
                    break
                if not chunk:
                    chunk += self._turn()
                ready, chunk = chunk, []
                yield ready
            except KeyboardInterrupt as signal:
                if interrupt is not None:
                    self._abandon()
                    raise
                interrupt = signal
                self._waiting.clear()
                self.drained = self.in_flight
        if interrupt is not None:
            raise interrupt

    def close(self) -> None:
        """End the engines."""
        for engine in self._engines:
            engine.close()
        self._engines = ()

    def _abandon(self) -> None:
        self.abandoned = self.in_flight
        self.drained -= self.abandoned
        self.close()

    # -- reading ahead -------------------------------------------------------------------------------------------------

    def _read(self, requests: Iterator[tuple[int, Request]]) -> Answers:
        """Read as soon as less is left than the engines take; gives the answers that need no engine."""
        if not self._more or len(self._waiting) > sum(engine.room for engine in self._engines):
            return []
        window: list[tuple[int, Request]] = []
        tokens = 0
        while self._more and len(window) < READ_AHEAD and tokens < _READ_AHEAD_TOKENS:
            item = next(requests, None)
            if item is None:
                self._more = False
            else:
                window.append(item)
                tokens += self._desk.size(item[1])
        answers, questions = self._desk.ask(window)
        self._waiting += questions
        return answers

    # -- the engines ---------------------------------------------------------------------------------------------------

    def _turn(self) -> Answers:
        """Hand out what the engines take, and wait for what they say, for a second at most."""
        if not self._engines:
            self._engines = self._start(self._deaths)
        answers: Answers = []
        try:
            self._hand_out()
            for engine in speaking(self._engines, _PAUSE):
                answers += [answer for number, reply in engine.replies() for answer in self._desk.answer(number, reply)]
        except EngineDied as death:
            self._mourn(death)
        return answers

    def _hand_out(self) -> None:
        """Each engine gets a share of what waits, as much of it as it takes; what begins alike stays together."""
        for i, engine in enumerate(self._engines):
            share = -(-len(self._waiting) // (len(self._engines) - i))
            if some := [self._waiting.popleft() for _ in range(min(engine.room, share))]:
                engine.ask(some)

    def _mourn(self, death: EngineDied) -> None:
        """Take back what was asked and is not answered, for engines with smaller limits.

        Raises:
            BackendError: the engines never came up, or have died before.
        """
        if self._deaths or not (death.started or death.out_of_memory):
            raise _final(death) from death
        _log.warning(f"vLLM's engine died, and is started again with smaller limits: {death}", extra={"notice": True})
        self._deaths += 1
        unanswered = [item for engine in self._engines for item in engine.asked.items()]
        self._waiting.extendleft(reversed(unanswered))
        self.close()


def _final(death: EngineDied) -> BackendError:
    if death.started or death.out_of_memory:
        what = "ran out of memory" if death.out_of_memory else "died"
        return BackendError(
            f"vLLM's engine {what}, and so it did with smaller limits: {death}",
            hint="a smaller max_length or gpu_memory_utilization, tensor_parallel_size over more devices, "
            "quantization, or fewer sequences at once: engine = { max_num_seqs = 8 }",
        )
    return BackendError(f"vLLM's engine does not start: {death}", hint=_start_hint(str(death)))


def _start_hint(text: str) -> str:
    low = text.lower()
    if "max_model_len" in low or "kv cache" in low:
        return "a smaller max_length, or a larger gpu_memory_utilization"
    if "logprob_token_ids" in low:
        return 'pip install "lmrun[vllm]" gets one that is new enough'
    if "trust_remote_code" in low:
        return "the model brings its own Python code: read it, then set trust_remote_code = true"
    return 'does it load with vllm.LLM in a Python shell? backend = "hf" may know the model'
