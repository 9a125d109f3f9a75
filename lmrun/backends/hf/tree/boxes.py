"""Small subtrees of a pack as boxes: attention within many of them is one call with a mask, whatever their shape."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lmrun.backends.hf.tree.pack import Block, Pack, Piece

_MOST = 256
"""Tokens of a box: in one of this size the keys that a mask hides cost less than calls for each of its pieces."""
_STEP = 16
"""Boxes are padded to a multiple of this."""


@dataclass(frozen=True, slots=True)
class Box:
    """A piece with everything below it that is in the pack."""

    places: range
    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True)
class Group:
    """Boxes of about one size."""

    places: Any
    """``[box, n]``: where the tokens are in the pack; those of padding are any."""
    visible: Any
    """bool ``[box, n, n]``."""
    real: Any
    """Which of the flattened ``places`` are not padding."""


@dataclass(frozen=True, slots=True)
class Division:
    """A pack as boxes, pieces too large for one, and what looks at the latter and at the path."""

    groups: Sequence[Group]
    large: Sequence[Piece]
    blocks: Sequence[Block]

    @classmethod
    def of(cls, pack: Pack) -> Division:
        """The division of a pack."""
        below = {block.keys.start: block.queries.stop for block in pack.blocks if not block.on_path}
        boxes, large, at = [], [], 0
        for i, piece in enumerate(pack.pieces):
            if piece.at < at:
                continue
            end = below.get(piece.at, piece.stop)
            if end - piece.at <= _MOST:
                boxes.append(Box(range(piece.at, end), list(_until(pack.pieces[i:], end))))
                at = end
            else:
                large.append(piece)
                at = piece.stop
        starts = {piece.at for piece in large}
        blocks = [block for block in pack.blocks if block.on_path or block.keys.start in starts]
        return cls([_group(alike, below) for alike in _alike(boxes)], large, blocks)


def _until(pieces: Sequence[Piece], end: int) -> Iterator[Piece]:
    for piece in pieces:
        if piece.at >= end:
            return
        yield piece


def _alike(boxes: Sequence[Box]) -> list[list[Box]]:
    sizes: defaultdict[int, list[Box]] = defaultdict(list)
    for box in boxes:
        sizes[-(-len(box.places) // _STEP)].append(box)
    return list(sizes.values())


def _group(boxes: Sequence[Box], below: dict[int, int]) -> Group:
    import torch

    size = max(len(box.places) for box in boxes)
    starts = torch.tensor([box.places.start for box in boxes])
    lengths = torch.tensor([len(box.places) for box in boxes])
    steps = torch.arange(size)
    real = steps < lengths[:, None]
    # A query of padding sees itself, so that nothing is undefined.
    visible = torch.eye(size, dtype=torch.bool).repeat(len(boxes), 1, 1)
    for box, seen in zip(boxes, visible, strict=True):
        for piece in box.pieces:
            start, stop = piece.at - box.places.start, piece.stop - box.places.start
            seen[start:stop, start:stop] = torch.ones((stop - start, stop - start), dtype=torch.bool).tril()
            seen[stop : below.get(piece.at, piece.stop) - box.places.start, start:stop] = True
    return Group(torch.where(real, starts[:, None] + steps, 0), visible, real.flatten().nonzero()[:, 0])
