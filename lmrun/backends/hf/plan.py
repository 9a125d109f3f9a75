"""How requests become batches: decided by the requests alone, so that every run of them forms the same batches.

On a CPU in float32 the result of a row depends on nothing but the row, to the last bit, under three conditions:

* its padded length depends on its own length alone (:func:`padded_length`), and a batch holds one padded length;
* matrix products have a multiple of :data:`CPU_ROW_MULTIPLE` rows: a remainder goes through another kernel, which adds
  in another order;
* torch cuts tensors into pieces of whole vectors for its threads, which it does for one and two threads: the end of an
  odd piece goes through scalar code of SiLU and GELU, which rounds differently.

The first two are kept here. So a score does not change with the batch size, the other requests or an interruption; with
more threads it may change by about 1e-6. On a GPU rows of different length share a batch, and batches of different size
agree within rounding; a resumed run still repeats the batches of an uninterrupted one.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

_Row = TypeVar("_Row")

SCORING_STEP = 16
GENERATION_STEP = 64
"""Coarser: prompts of one padded length share the steps of generation, which cost more than the padding."""
CPU_ROW_MULTIPLE = 4
"""Measured with MKL's float32 kernels, 1 to 64 threads, SSE4.2 to AVX-512: where a result depended on the number of
rows, that number had a remainder (at 64 threads, up to 171 rows)."""
CPU_BATCH_TOKENS = 2048
"""Measured: throughput on a CPU is flat from 512 to 4,096 tokens, for 3 M and 65 M parameters, and falls beyond."""
_GPU_MOST_TOKENS = 32_768
"""More per batch does not make a GPU faster, and a batch is what an interruption loses."""


@dataclass(frozen=True, slots=True)
class Member:
    """One thing to be scored: a continuation, or a window of a long text."""

    owner: int
    """Position of its request."""
    part: int
    """Which window; 0 for a continuation."""
    continuation: array[int]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a forward pass, and everything that is read off it: choices of one token share a row."""

    inputs: array[int]
    members: tuple[Member, ...]

    def owned(self, owner: int) -> Row:
        """The same row of this request."""
        return Row(self.inputs, tuple(replace(member, owner=owner) for member in self.members))

    def without(self, answered: Collection[int], parts: Collection[tuple[int, int]] = frozenset()) -> Row:
        """The row with the members that are not answered yet, neither as requests nor as parts of requests."""
        left = (m for m in self.members if m.owner not in answered and (m.owner, m.part) not in parts)
        return Row(self.inputs, tuple(left))

    def only(self, owners: Collection[int]) -> Row:
        """The row with the members of these requests."""
        return Row(self.inputs, tuple(m for m in self.members if m.owner in owners))


@dataclass(frozen=True, slots=True)
class Shape:
    """How batches are formed on a device."""

    batch_tokens: int
    """Padded tokens of a batch, at most, unless a single row has more."""
    one_length: bool
    """A batch holds one padded length."""
    row_multiple: int
    """The rows (tokens) of every matrix product are filled up to a multiple of this."""


def padded_length(length: int, most: int, step: int = SCORING_STEP) -> int:
    """What ``length`` tokens are padded to, never over ``most``: multiples of ``step``, and of 1/16 of a power of two.

    With a step of 16: 16, 32 … 256, 288 … 512, 576 …. Padding is below ``step`` or at most an eighth, and a power of
    two is never crossed: some models change their position encoding there.
    """
    step = max(step, 1 << max(0, (length - 1).bit_length() - 4))
    return max(length, min(-(-length // step) * step, most))


def batches(
    lengths: Sequence[int],
    shape: Shape,
    group: Callable[[int], Any] = lambda _: None,
    extra: int = 0,
    multiple: int = 1,
) -> Iterator[list[int]]:
    """Batches of positions of ``lengths`` (padded lengths, the longest first).

    A batch ends where ``group`` changes, where the length changes (if ``shape`` says so), and where it is full. Every
    row counts ``extra`` tokens besides its length. A full batch has a multiple of ``multiple`` rows, if that many fit.
    """
    batch: list[int] = []
    for i, length in enumerate(lengths):
        if batch:
            first = batch[0]
            rows = shape.batch_tokens // (lengths[first] + extra)
            full = len(batch) >= max(1, rows - rows % multiple if rows > multiple else rows)
            if full or group(first) != group(i) or (shape.one_length and lengths[first] != length):
                yield batch
                batch = []
        batch.append(i)
    if batch:
        yield batch


def merge_rows(rows: Sequence[Row]) -> list[Row]:
    """Rows in the order in which they are run, each input once: the longest first, so that memory runs out at once."""
    same: dict[bytes, list[Row]] = {}
    for row in rows:
        same.setdefault(row.inputs.tobytes(), []).append(row)
    merged = [Row(group[0].inputs, tuple(m for row in group for m in row.members)) for group in same.values()]
    return sorted(merged, key=lambda row: (-len(row.inputs), row.inputs.tobytes()))


def rounds(rows_of: Sequence[Sequence[Row]], tokens: int) -> Iterator[list[Row]]:
    """The rows of several long texts, some texts at a time, so that texts are finished (and kept) all along the way."""
    order = sorted(range(len(rows_of)), key=lambda i: (-sum(len(row.inputs) for row in rows_of[i]), i))
    waiting: list[Row] = []
    count = 0
    for i in order:
        waiting.extend(rows_of[i])
        count += sum(len(row.inputs) for row in rows_of[i])
        if count >= tokens:
            yield waiting
            waiting, count = [], 0
    if waiting:
        yield waiting


class Room:
    """What was learnt about memory: how many tokens fit into a batch, by length of its rows.

    A batch that did not fit lowers the limit for rows about as long and longer, not for much shorter ones: what a
    batch needs beside its tokens grows with the length.
    """

    def __init__(self) -> None:
        self._limits: dict[int, int] = {}

    def split(self, batch: Sequence[_Row], length: int) -> list[Sequence[_Row]]:
        """A batch of rows of ``length``, in parts that are expected to fit."""
        if not batch:
            return []
        limits = [tokens for bucket, tokens in self._limits.items() if length.bit_length() >= bucket]
        rows = max(1, min(limits) // length) if limits else len(batch)
        return [batch[i : i + rows] for i in range(0, len(batch), rows)]

    def ran_out(self, rows: int, length: int) -> None:
        """Remember that this many rows of ``length`` were too much."""
        bucket = length.bit_length()
        tokens = max(1, rows // 2) * length
        self._limits[bucket] = min(tokens, self._limits.get(bucket, tokens))


def gpu_batch_tokens(total_memory: int, model_bytes: int, bytes_per_token: int) -> int:
    """Tokens per batch on a GPU: a power of two, found from the size of device and model and not from what is free
    just now, so that a resumed run forms the same batches.
    """
    room = max(0, int(total_memory * 0.9) - model_bytes) * 0.6
    tokens = int(room / max(1, bytes_per_token))
    return max(512, min(_GPU_MOST_TOKENS, 1 << max(0, tokens.bit_length() - 1)))
