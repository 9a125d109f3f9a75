"""The walk over a trie, cut into packs: what one forward pass computes, and which keys each of its tokens looks at.

A pack holds pieces of nodes one after the other, so that everything below a node follows it. What a node's tokens look
at is therefore a list of rectangles (:class:`Block`): the node itself, causally, and of each node above it everything.
Nodes above that were computed in an earlier pack are on the *path*: their keys and values are kept, at their depth,
as long as something below them is missing. Only one path is ever kept, so memory is that of one row.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lmrun.backends.hf.tree.trie import Node, walk

_FULL = 0.75
"""Of its tokens, so many make a pack that is about full."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens of a node in a pack: depths ``start`` to ``end``, from ``at`` on."""

    node: Node
    start: int
    end: int
    at: int

    @property
    def stop(self) -> int:
        """Where the next piece begins."""
        return self.at + self.end - self.start


@dataclass(frozen=True, slots=True)
class Block:
    """Queries of a pack that look at the same keys, all of them."""

    queries: range
    """Places in the pack."""
    keys: range
    """Places in the pack, or depths of the path."""
    depth: int
    """Of the first key."""
    on_path: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """Tokens of a pack that go onto the path."""

    places: range
    depth: int
    """Of the first."""


@dataclass(frozen=True, slots=True)
class _Above:
    """A part of the path, or of the pack, under which pieces hang."""

    start: int
    end: int
    pack: int
    """Number of the pack that computes it."""
    at: int = -1
    """Its place, if that is this pack."""


@dataclass(frozen=True, slots=True)
class Pack:
    """One forward pass."""

    number: int
    pieces: Sequence[Piece]
    blocks: Sequence[Block]
    """Besides each piece on itself."""
    kept: Sequence[Kept]
    uses: frozenset[int]
    """Numbers of the packs that it finds on the path."""
    path: Sequence[_Above] = field(repr=False)
    after: Sequence[_Above] = field(repr=False)
    """The path that the next pack finds."""
    next_depth: int = field(repr=False)
    """Where the first piece of the next pack begins; 0 after the last."""

    @property
    def size(self) -> int:
        """Tokens."""
        return self.pieces[-1].stop

    def tokens(self, rows: Sequence[array[int]]) -> array[int]:
        """The tokens, of rows that the trie was built of."""
        found = array("i")
        for piece in self.pieces:
            found.extend(rows[piece.node.row][piece.start : piece.end])
        return found

    def depths(self) -> list[int]:
        """The position of each token in its row."""
        return [depth for piece in self.pieces for depth in range(piece.start, piece.end)]

    def split(self, size: int) -> list[Pack]:
        """The same in packs of at most ``size`` tokens."""
        pieces = [Piece(p.node, p.start, p.end, 0) for p in self.pieces]
        return list(_packs(_groups(pieces, size), self.path, self.next_depth, self.number))


def packs(root: Node, size: int, stem: int = 0, first: int | None = None) -> Iterator[Pack]:
    """The walk below ``root`` in packs of ``size`` tokens; the last may have fewer.

    The first ``stem`` tokens, which all rows have in common, are left out: they are on the path. With ``first`` the
    first pack has about so many tokens, and each has twice as many as the one before, up to ``size``.

    What belongs together is not torn apart where a pack is about full: packs that do not need each other need not be
    computed again when a run is resumed between them.
    """
    pieces = [Piece(node, max(node.start, stem), node.end, 0) for node in walk(root) if node.end > stem]
    return _packs(_groups(pieces, size, first, _below(pieces)), _stem(stem), 0, None)


def stem_packs(depths: range, size: int) -> Iterator[Pack]:
    """This part of a row, below what is on the path; all of it is to be kept there."""
    start, end = depths.start, depths.stop
    return _packs(_groups([Piece(Node(0, start, end), start, end, 0)], size), _stem(start), end, None)


def tail_packs(stem: int, lengths: Sequence[int], size: int) -> Iterator[Pack]:
    """Rows of these lengths from ``stem`` on, where all are alike before, which is on the path."""
    nodes = [Node(i, stem, length) for i, length in enumerate(lengths)]
    pieces = [Piece(node, node.start, node.end, 0) for node in nodes]
    return _packs(_groups(pieces, size), _stem(stem), stem, None)


def _stem(length: int) -> list[_Above]:
    return [_Above(0, length, -1)] if length else []


def needed(plan: Sequence[Pack], wanted: Collection[int]) -> set[int]:
    """Numbers of packs to compute, so that those in ``wanted`` can be."""
    found = set(wanted)
    for pack in reversed(plan):
        if pack.number in found:
            found |= pack.uses
    return found


def _packs(grouped: Iterator[list[Piece]], path: Sequence[_Above], last: int, number: int | None) -> Iterator[Pack]:
    """``number`` None counts the packs; else they are parts of that one."""
    groups = list(grouped)
    for i, group in enumerate(groups):
        following = groups[i + 1][0].start if i + 1 < len(groups) else last
        pack = _pack(number if number is not None else i, group, path, following)
        yield pack
        path = pack.after


def _below(pieces: Sequence[Piece]) -> dict[int, int]:
    """Tokens of each node and all nodes below it, by its identity."""
    sizes: dict[int, int] = {}
    for piece in reversed(pieces):
        sizes[id(piece.node)] = piece.end - piece.start + sum(sizes[id(child)] for child in piece.node.children)
    return sizes


def _groups(
    pieces: Sequence[Piece], most: int, first: int | None = None, below: Mapping[int, int] | None = None
) -> Iterator[list[Piece]]:
    """``below`` says how many tokens belong together."""
    group: list[Piece] = []
    size = room = min(first or most, most)
    for piece in pieces:
        together = below[id(piece.node)] if below else 0
        if room < together <= most:
            if size - room >= _FULL * size:
                yield group
                group, size = [], min(2 * size, most)
                room = size
            if not group:
                size = room = max(room, together)
        start = piece.start
        while start < piece.end:
            end = min(piece.end, start + room)
            group.append(Piece(piece.node, start, end, size - room))
            room -= end - start
            start = end
            if not room:
                yield group
                size = min(2 * size, most)
                group, room = [], size
    if group:
        yield group


def _pack(number: int, pieces: Sequence[Piece], path: Sequence[_Above], next_depth: int) -> Pack:
    above = list(path)
    blocks: list[Block] = []
    for piece in pieces:
        _leave(above, piece.start, piece.at, blocks)
        above.append(_Above(piece.start, piece.end, number, piece.at))
    _leave(above, next_depth, pieces[-1].stop, blocks)
    kept = [Kept(range(a.at, a.at + a.end - a.start), a.start) for a in above if a.at >= 0]
    after = [_Above(a.start, a.end, a.pack) for a in above]
    _leave(above, 0, pieces[-1].stop, blocks)
    uses = frozenset(a.pack for a in path) - {number}
    return Pack(number, pieces, _joined(blocks), kept, uses, path, after, next_depth)


def _leave(above: list[_Above], depth: int, place: int, blocks: list[Block]) -> None:
    """Drop what ``depth`` does not hang under; everything up to ``place`` did."""
    while above and above[-1].end > depth:
        left = above.pop()
        length = left.end - left.start
        if left.at < 0:
            blocks.append(Block(range(place), range(left.start, left.end), left.start, True))
        elif left.at + length < place:
            keys = range(left.at, left.at + length)
            blocks.append(Block(range(left.at + length, place), keys, left.start, False))


def _joined(blocks: Sequence[Block]) -> list[Block]:
    """Without the empty ones, and neighbors on the path with the same queries as one block."""
    found: list[Block] = []
    for block in blocks:
        below = found[-1] if found else None
        if below and below.on_path and block.on_path and below.queries == block.queries:
            found[-1] = Block(block.queries, range(block.depth, below.keys.stop), block.depth, True)
        elif block.queries:
            found.append(block)
    return found
