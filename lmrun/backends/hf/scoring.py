"""Log-probabilities of given tokens: one forward pass over a batch of rows, read only where something is scored."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lmrun.backends.hf.plan import Member, Row
from lmrun.requests import ResponseError

_POSITIONS_AT_ONCE = 512
"""Scored positions whose float32 log-probabilities over the vocabulary are in memory at the same time."""

NOT_A_NUMBER = ResponseError(
    "not_a_number", "the model's output is not a number: its values overflow, most likely in float16 (try bfloat16)"
)
"""For a row whose logits are no numbers."""


class Score(NamedTuple):
    """Natural-log probability of a member's tokens, and whether each is the model's first choice."""

    member: Member
    logprob: float
    is_greedy: bool
    error: ResponseError | None = None


def keeps_logits(model: Any) -> bool:
    """Whether the model computes logits only where it is asked to; its own scaling or capping of them included."""
    return "logits_to_keep" in inspect.signature(type(model).forward).parameters


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores batches with one model."""

    forward: Callable[..., Any]
    """The model's forward pass: keyword arguments to an output with ``logits``."""
    device: Any
    keeps_logits: bool
    row_multiple: int

    def score(self, rows: Sequence[Row], length: int) -> list[Score]:
        """Scores of all members of ``rows``, each padded on the right to ``length``.

        A causal model sees nothing of what stands to the right, so no attention mask is needed and the positions are
        those of the text alone.
        """
        import torch

        with torch.inference_mode():
            logits, first = self._logits(rows, length)
            return self._read(rows, logits, first)

    def _logits(self, rows: Sequence[Row], length: int) -> tuple[Any, int]:
        """Logits ``[row, position, token]`` from the first scored position on, and that position."""
        import torch

        copies = len(rows) if length % self.row_multiple == 0 else _fill(len(rows), self.row_multiple)
        inputs = torch.zeros((copies, length), dtype=torch.long)
        for i in range(copies):
            row = rows[i % len(rows)].inputs
            inputs[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        inputs = inputs.to(self.device)
        first = min(len(row.inputs) - max(len(m.continuation) for m in row.members) for row in rows)
        width = max(len(row.inputs) for row in rows) - first
        if copies % self.row_multiple:
            width = _fill(width, self.row_multiple)
            first = min(first, length - width)
        last = first + width
        if not self.keeps_logits:
            return self.forward(input_ids=inputs, use_cache=False).logits[:, first:last], first
        keep = torch.arange(first, last, device=self.device)
        return self.forward(input_ids=inputs, use_cache=False, logits_to_keep=keep).logits, first

    def _read(self, rows: Sequence[Row], logits: Any, first: int) -> list[Score]:
        import torch

        # One entry per scored token of every member: where its logits are, and which token it is.
        where: list[tuple[int, int]] = []
        tokens: list[int] = []
        for i, row in enumerate(rows):
            end = len(row.inputs) - first
            for member in row.members:
                where.extend((i, p) for p in range(end - len(member.continuation), end))
                tokens.extend(member.continuation)
        at_row, at_position = torch.tensor(where, device=logits.device).unbind(1)
        wanted = torch.tensor(tokens, device=logits.device)
        values, hits = [], []
        for start in range(0, len(tokens), _POSITIONS_AT_ONCE):
            part = slice(start, start + _POSITIONS_AT_ONCE)
            chosen = torch.log_softmax(logits[at_row[part], at_position[part]].float(), dim=-1)
            values.append(chosen.gather(1, wanted[part, None])[:, 0])
            hits.append(chosen.argmax(dim=-1) == wanted[part])
        logprobs: list[float] = torch.cat(values).tolist()
        greedy: list[bool] = torch.cat(hits).tolist()
        return _collect(rows, logprobs, greedy)


def _fill(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _collect(rows: Sequence[Row], logprobs: Sequence[float], greedy: Sequence[bool]) -> list[Score]:
    scores = []
    start = 0
    for row in rows:
        for member in row.members:
            end = start + len(member.continuation)
            total = math.fsum(logprobs[start:end])
            scores.append(Score(member, total, all(greedy[start:end]), NOT_A_NUMBER if math.isnan(total) else None))
            start = end
    return scores
