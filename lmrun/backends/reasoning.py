"""Reasoning and answer: what a model thinks aloud is split off before stops and filters, by one rule for all backends.

The answer is what stands after the last end delimiter, without white space before it, up to the first stop. So a stop
inside the reasoning stops nothing, and the start delimiter may be missing, as it is where the prompt has opened the
block. A block that is never closed leaves no answer: all of the output is reasoning.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from lmrun.requests import Context


class Delimiters(NamedTuple):
    """What stands before and after the reasoning of a model."""

    start: str
    end: str

    def opened_by(self, context: Context, rendered: str) -> bool:
        """Whether a prompt has begun the reasoning: at its very end, or in the answer that it asks to continue."""
        prefilled = bool(context) and not isinstance(context, str) and context[-1].role == "assistant"
        prefill = context[-1].content if prefilled else ""  # type: ignore[union-attr]
        return rendered.rstrip().endswith(self.start) or prefill.rfind(self.start) > prefill.rfind(self.end)


KNOWN = (
    Delimiters("<think>", "</think>"),
    Delimiters("[THINK]", "[/THINK]"),
    Delimiters("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
    Delimiters("<|START_THINKING|>", "<|END_THINKING|>"),
    Delimiters("<seed:think>", "</seed:think>"),
    Delimiters("<thought>", "</thought>"),
    Delimiters("◁think▷", "◁/think▷"),
)
"""Delimiters of published models, the usual ones first."""


def known_delimiters(template: str | None, tokens: Collection[str]) -> Delimiters | None:
    """The delimiters of a model, by its chat template or by the tokens that were added to its vocabulary."""
    return next((known for known in KNOWN if known.end in (template or "") or known.end in tokens), None)


class Split(NamedTuple):
    """An output taken apart."""

    reasoning: str
    """Without its delimiters and without white space around it; empty where there is none."""
    text: str
    """The answer."""
    answer: int
    """Where in the output the answer begins."""
    closed: bool
    """False: the output ended within the reasoning."""
    stopped: bool
    """A stop ended the answer."""


class Splitter:
    """Takes an output apart while it grows. However it is cut into pieces, the outcome is the same."""

    def __init__(self, delimiters: Delimiters, stops: Sequence[str], *, opened: bool = False) -> None:
        self._start, self._end = delimiters
        self._stops = [stop for stop in stops if stop]
        self._output = ""
        self._inside = opened
        self._answer = 0
        self._from = 0  # before this, all is looked through
        self._stop: int | None = None

    def feed(self, piece: str) -> bool:
        """Take the next piece; says whether a stop has ended the answer, so that nothing after it matters."""
        self._output += piece
        while self._advance(final=False):
            pass
        return self._stop is not None

    def finish(self) -> Split:
        """The outcome, once there are no more pieces."""
        while self._advance(final=True):
            pass
        if self._inside:
            return Split(self._bare(self._output), "", len(self._output), closed=False, stopped=False)
        begin = self._begin()
        reasoning = self._output[: self._answer].removesuffix(self._end)
        text = self._output[begin : self._stop]
        return Split(self._bare(reasoning), text, begin, closed=True, stopped=self._stop is not None)

    def _bare(self, reasoning: str) -> str:
        return reasoning.strip().removeprefix(self._start).strip()

    def _begin(self) -> int:
        rest = self._output[self._answer :]
        return len(self._output) - len(rest.lstrip())

    def _advance(self, *, final: bool) -> bool:
        """Go on to the next delimiter or stop; False where there is none, or more has to be seen to know."""
        if self._stop is not None:
            return False
        if self._inside:
            return self._leave(self._output.find(self._end, self._from))
        begin = max(self._from, self._begin())
        marks = ((self._output.find(mark, begin), i, mark) for i, mark in enumerate((self._start, self._end)))
        delimiter = min(((at, i, mark) for at, i, mark in marks if at >= 0), default=None)
        stop = min((at for mark in self._stops if (at := self._output.find(mark, begin)) >= 0), default=None)
        first = min((at for at in (delimiter and delimiter[0], stop) if at is not None), default=len(self._output))
        if not final and self._may_begin_before(begin, first, at_stop=stop == first):
            return False
        if delimiter and delimiter[0] == first:
            if delimiter[2] == self._end:
                return self._leave(first)
            self._inside, self._from = True, first + len(self._start)
            return True
        self._stop = stop
        self._from = first
        return False

    def _leave(self, at: int) -> bool:
        """The reasoning ends at the end delimiter that stands at ``at``; -1: not yet."""
        if at < 0:
            self._from = max(self._from, len(self._output) - len(self._end) + 1)
            return False
        self._inside = False
        self._answer = self._from = at + len(self._end)
        return True

    def _may_begin_before(self, begin: int, first: int, *, at_stop: bool) -> bool:
        """Whether the output ends in the beginning of a mark that would come before the one found at ``first``."""
        delimiters = (self._tail(mark, begin) for mark in (self._start, self._end))
        stops = (self._tail(mark, begin) for mark in self._stops)
        return any(at < first or (at == first and at_stop) for at in delimiters) or any(at < first for at in stops)

    def _tail(self, mark: str, begin: int) -> int:
        """Where the output ends in the beginning of ``mark``; its length where it does not."""
        n = len(self._output)
        return next((at for at in range(max(begin, n - len(mark) + 1), n) if mark.startswith(self._output[at:])), n)


def split(output: str, delimiters: Delimiters, stops: Sequence[str] = (), *, opened: bool = False) -> Split:
    """Take a whole output apart."""
    splitter = Splitter(delimiters, stops, opened=opened)
    splitter.feed(output)
    return splitter.finish()
