"""Rows as a trie of tokens, in the order in which it is walked."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_BYTES = 4
"""Of a token in a sort key."""


@dataclass(slots=True)
class Node:
    """Tokens that rows have in common, from one branching to the next. Depths are positions in the rows."""

    row: int
    """One of the rows that go through here; its tokens are the node's."""
    start: int
    end: int
    children: list[Node] = field(default_factory=list)
    ends: int | None = None
    """The row that ends here."""
    rank: int = 0
    """Of the row below that comes first."""

    def __len__(self) -> int:
        return self.end - self.start


def build(rows: Sequence[array[int]], ranks: Sequence[int]) -> Node:
    """The trie of distinct, non-empty ``rows``; children in the order of the first rank below them.

    Returns:
        The root, which holds no token.
    """
    keys = [_key(row) for row in rows]
    root = Node(-1, 0, 0)
    path = [root]
    before = b""
    for i in sorted(range(len(rows)), key=keys.__getitem__):
        _add(path, i, _common(before, keys[i]), len(rows[i]))
        before = keys[i]
    _sort(root, ranks)
    return root


def walk(root: Node) -> Iterator[Node]:
    """All nodes with tokens, parents before children, one subtree after the other."""
    waiting = list(reversed(root.children))
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.children))


def _add(path: list[Node], row: int, common: int, length: int) -> None:
    """Put a row in, which shares its first ``common`` tokens with the row before; ``path`` is that row's."""
    while path[-1].end > common and path[-1].start >= common:
        path.pop()
    top = path[-1]
    if top.end > common:
        lower = Node(top.row, common, top.end, top.children, top.ends)
        top.end, top.children, top.ends = common, [lower], None
    node = Node(row, common, length, ends=row)
    top.children.append(node)
    path.append(node)


def _sort(root: Node, ranks: Sequence[int]) -> None:
    nodes = [root, *walk(root)]
    for node in reversed(nodes):
        own = [] if node.ends is None else [ranks[node.ends]]
        node.rank = min([*own, *(child.rank for child in node.children)], default=0)
        node.children.sort(key=lambda child: child.rank)


def _key(tokens: array[int]) -> bytes:
    """Tokens as bytes that compare as the tokens do."""
    if sys.byteorder == "big":
        return tokens.tobytes()
    swapped = tokens[:]
    swapped.byteswap()
    return swapped.tobytes()


def _common(one: bytes, other: bytes) -> int:
    """Tokens that two keys begin with alike."""
    low, high = 0, min(len(one), len(other)) // _BYTES
    while low < high:
        middle = (low + high + 1) // 2
        if one[low * _BYTES : middle * _BYTES] == other[low * _BYTES : middle * _BYTES]:
            low = middle
        else:
            high = middle - 1
    return low
