"""Log-probabilities of given tokens, each distinct prefix of the rows computed once."""

from __future__ import annotations

import math
import random
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lmrun.backends.hf.plan import Member, Row
from lmrun.backends.hf.scoring import NOT_A_NUMBER, Score
from lmrun.backends.hf.tree.pack import Pack, Piece, needed, packs
from lmrun.backends.hf.tree.stems import LEAST_STEM
from lmrun.backends.hf.tree.trie import Node, build, walk


class Read(NamedTuple):
    """Tokens of a member that are scored in a pack."""

    row: int
    member: int
    places: range
    """Where the logits are, in the pack."""
    tokens: array[int]


@dataclass(slots=True)
class Tree:
    """Rows planned as packs; which of them are run depends on what is answered already."""

    rows: Sequence[Row]
    inputs: Sequence[array[int]]
    """Of the rows."""
    longest: int
    """The row with the most tokens."""
    stem: int
    """Tokens that all rows begin with, which no pack computes."""
    plan: Sequence[Pack]
    readers: dict[int, list[int]]
    """By identity of a node: the rows of which tokens are scored in it."""

    @classmethod
    def of(cls, rows: Sequence[Row], size: int, most_stem: int = 0, first: int | None = None) -> Tree:
        """Rows with different inputs, in packs of ``size`` tokens, below a stem of ``most_stem`` at most.

        With ``first`` the packs begin with so many tokens, and grow.
        """
        inputs = [row.inputs for row in rows]
        longest = max(range(len(rows)), key=lambda i: len(inputs[i]))
        root = build(inputs, _ranks(rows, longest))
        stem = min(most_stem, _stem(root, rows))
        return cls(rows, inputs, longest, stem, list(packs(root, size, stem, first)), _readers(root, rows))

    @property
    def size(self) -> int:
        """Distinct tokens below the stem."""
        return sum(pack.size for pack in self.plan)

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return len(self.inputs[self.longest])

    def member(self, read: Read) -> Member:
        """Whose tokens these are."""
        return self.rows[read.row].members[read.member]

    def reads(self, pack: Pack, answered: Collection[int] = frozenset()) -> Iterator[Read]:
        """What is scored in a pack, but for what belongs to ``answered`` requests."""
        for piece in pack.pieces:
            for i in self.readers.get(id(piece.node), ()):
                for j, member in enumerate(self.rows[i].members):
                    read = _read(piece, i, j, len(self.rows[i].inputs), member)
                    if read.tokens and member.owner not in answered:
                        yield read

    def wanted(self, answered: frozenset[int]) -> set[int]:
        """Numbers of the packs to run, so that everything that is not answered is scored."""
        if not answered:
            return {pack.number for pack in self.plan}
        return needed(self.plan, {p.number for p in self.plan if any(True for _ in self.reads(p, answered))})


def _stem(root: Node, rows: Sequence[Row]) -> int:
    """Tokens that several rows begin with, all of them, before the first logits that are read; 0 for hardly any."""
    if len(root.children) > 1 or len(rows) < 2:
        return 0
    read = min(len(row.inputs) - max(len(member.continuation) for member in row.members) for row in rows)
    length = min(root.children[0].end, read)
    return length if length >= LEAST_STEM else 0


def _ranks(rows: Sequence[Row], longest: int) -> list[int]:
    """The order of rows: that with the most tokens first, so that memory runs out at once, then requests at random, so
    that what is done early is like what is left; windows of a text one after the other.
    """
    owners = sorted({member.owner for row in rows for member in row.members})
    order = list(range(len(owners)))
    random.Random(len(owners)).shuffle(order)
    place = dict(zip(owners, order, strict=True))
    parts = 1 + max(member.part for row in rows for member in row.members)
    place.update(dict.fromkeys((member.owner for member in rows[longest].members), -1))
    return [min(place[m.owner] * parts + m.part for m in row.members) for row in rows]


def _readers(root: Node, rows: Sequence[Row]) -> dict[int, list[int]]:
    readers: defaultdict[int, list[int]] = defaultdict(list)
    above: list[Node] = []
    for node in walk(root):
        while above and above[-1].end > node.start:
            above.pop()
        above.append(node)
        if node.ends is None:
            continue
        row = rows[node.ends]
        first = len(row.inputs) - max(len(member.continuation) for member in row.members)
        for higher in reversed(above):
            if higher.end <= first:
                break
            readers[id(higher)].append(node.ends)
    return dict(readers)


def _read(piece: Piece, row: int, member: int, length: int, scored: Member) -> Read:
    first = length - len(scored.continuation)
    start, end = max(piece.start, first), min(piece.end, length)
    places = range(piece.at + start - piece.start, piece.at + max(start, end) - piece.start)
    return Read(row, member, places, scored.continuation[start - first : end - first] if end > start else array("i"))


@dataclass(slots=True)
class Tally:
    """What is known so far of the members of a tree."""

    tree: Tree
    _found: dict[tuple[int, int], list[tuple[float, bool]]] = field(default_factory=dict)

    def add(self, read: Read, logprobs: Sequence[float], greedy: Sequence[bool]) -> Score | None:
        """Tokens of a member; its score, if these were the last."""
        member = self.tree.member(read)
        found = self._found.setdefault((read.row, read.member), [])
        found.extend(zip(logprobs, greedy, strict=True))
        if len(found) < len(member.continuation):
            return None
        del self._found[read.row, read.member]
        total = math.fsum(logprob for logprob, _ in found)
        return Score(member, total, all(hit for _, hit in found), NOT_A_NUMBER if math.isnan(total) else None)
