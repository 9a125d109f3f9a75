"""Attention over a pack: each piece on itself, and each block of queries on the keys above it.

On a CPU the parts of a softmax are computed apart and merged by the logarithms of their sums (cascade attention;
Juravsky et al., *Hydragen*, arXiv:2402.05099): no key is copied, no mask is made, and the keys of a shared prefix are
read once for all its branches. Elsewhere many small kernels would take longer than they save: there one masked call
goes over the path and the pack together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from lmrun.backends.hf.tree.boxes import Division, Group
from lmrun.backends.hf.tree.pack import Block, Kept, Pack
from lmrun.backends.hf.tree.slots import Slots, Tap
from lmrun.backends.hf.tree.softmax import Merged, Rule

Layers: TypeAlias = dict[int, tuple[Any, Any]]
"""Keys and values by layer: ``[heads, depth, size]`` each."""


@dataclass(slots=True)
class Path:
    """Keys and values of the path."""

    length: int
    """Tokens of the longest path. Buffers have this size from the beginning: how far apart heads lie in memory can
    change the last bit of a product, and must not depend on where a run was interrupted."""
    layers: Layers = field(default_factory=dict)
    _next: list[tuple[int, Kept, Any, Any]] = field(default_factory=list)

    def put(self, depth: int, layers: Layers) -> None:
        """Put tokens there, the first of them at ``depth``."""
        for layer, tensors in layers.items():
            self._put(layer, depth, tensors)

    def part(self, depths: range) -> Layers:
        """Of these tokens, as views."""
        at = slice(depths.start, depths.stop)
        return {layer: (key[:, at], value[:, at]) for layer, (key, value) in self.layers.items()}

    def keep(self, layer: int, pack: Pack, key: Any, value: Any) -> None:
        """Take what later packs look at from a pack's ``[heads, place, size]``."""
        for kept in pack.kept:
            places = slice(kept.places.start, kept.places.stop)
            self._next.append((layer, kept, key[:, places].clone(), value[:, places].clone()))

    def step(self) -> None:
        """The pack is computed: what it looked at may go where what it keeps is put."""
        for layer, kept, *new in self._next:
            self._put(layer, kept.depth, new)
        self._next.clear()

    def _put(self, layer: int, depth: int, new: Sequence[Any]) -> None:
        if layer not in self.layers:
            self.layers[layer] = (self._buffer(new[0]), self._buffer(new[1]))
        for buffer, tokens in zip(self.layers[layer], new, strict=True):
            buffer[:, depth : depth + tokens.shape[1]] = tokens

    def _buffer(self, like: Any) -> Any:
        return like.new_empty((like.shape[0], self.length, like.shape[2]))

    def stay(self) -> None:
        """The pack could not be computed."""
        self._next.clear()


@dataclass(frozen=True)
class PackFrame:
    """A forward pass over a pack."""

    pack: Pack
    path: Path
    depths: Any
    """Tensor of the position of each token in its row."""
    slots: Slots | None = None
    """Where the keys of rows that will be continued go."""
    taps: Sequence[Tap] = ()
    """Which these are."""

    @property
    def size(self) -> int:
        """Tokens."""
        return self.pack.size

    def attend(self, layer: int, rule: Rule, query: Any, key: Any, value: Any) -> Merged:
        """The attention of a layer, over ``[heads, place, size]``."""
        self.path.keep(layer, self.pack, key, value)
        if self.slots:
            self.slots.tap(layer, self.taps, key, value)
        attend = _cascade if query.device.type == "cpu" else _together
        return attend(self, layer, rule, query, key, value)

    @cached_property
    def division(self) -> Division:
        """How the pack is computed part by part."""
        return Division.of(self.pack)

    @cached_property
    def on_path(self) -> int:
        """Tokens of the path that somebody looks at."""
        return max((block.keys.stop for block in self.pack.blocks if block.on_path), default=0)

    @cached_property
    def visible(self) -> Any:
        """Which keys each token looks at, ``[place, path and place]``."""
        import torch

        size, before = self.pack.size, self.on_path
        seen = torch.zeros((size, before + size), dtype=torch.bool)
        for piece in self.pack.pieces:
            n = piece.end - piece.start
            seen[piece.at : piece.stop, before + piece.at : before + piece.stop] = torch.ones((n, n)).tril().bool()
        for block in self.pack.blocks:
            start = block.keys.start + (0 if block.on_path else before)
            seen[block.queries.start : block.queries.stop, start : start + len(block.keys)] = True
        return seen.to(self.depths.device)

    @cached_property
    def ruler(self) -> Any:
        """All positions."""
        import torch

        return torch.arange(self.deepest + 1, device=self.depths.device)

    @cached_property
    def key_depths(self) -> Any:
        """The position of each key of the path and the pack in its row."""
        import torch

        return torch.cat([self.ruler[: self.on_path], self.depths])

    @cached_property
    def deepest(self) -> int:
        """The last position of all."""
        return max(piece.end for piece in self.pack.pieces) - 1


def _cascade(frame: PackFrame, layer: int, rule: Rule, query: Any, key: Any, value: Any) -> Merged:
    merged = Merged.of(query, value)
    for group in frame.division.groups:
        _within(frame, group, rule, query, key, value, merged)
    for piece in frame.division.large:
        own = slice(piece.at, piece.stop)
        near = (
            None if rule.sees_all(piece.end - 1, piece.start) else rule.near(frame.depths[own, None], frame.depths[own])
        )
        merged.begin(own, *rule.part(query[:, own], key[:, own], value[:, own], near, causal=True))
    for block in frame.division.blocks:
        places = slice(block.queries.start, block.queries.stop)
        above = frame.ruler[block.depth : block.depth + len(block.keys)]
        near = None if rule.sees_all(frame.deepest, block.depth) else rule.near(frame.depths[places, None], above)
        keys, values = _above(frame, layer, block, key, value)
        merged.add(places, *rule.part(query[:, places], keys, values, near))
    return merged


def _within(frame: PackFrame, group: Group, rule: Rule, query: Any, key: Any, value: Any, merged: Merged) -> None:
    visible = group.visible
    if not rule.sees_all(frame.deepest, 0):
        depths = frame.depths[group.places]
        visible = visible & rule.near(depths[:, :, None], depths[:, None])
    query, key, value = (tensor[:, group.places] for tensor in (query, key, value))
    output, total = rule.boxes(query, key, value, visible)
    at = group.places.flatten()[group.real]
    merged.begin(at, output.flatten(1, 2)[:, group.real], total.flatten(1)[:, group.real])


def _together(frame: PackFrame, layer: int, rule: Rule, query: Any, key: Any, value: Any) -> Merged:
    if frame.on_path:
        import torch

        keys, values = frame.path.layers[layer]
        key = torch.cat([keys[:, : frame.on_path], key], dim=1)
        value = torch.cat([values[:, : frame.on_path], value], dim=1)
    visible = frame.visible
    if not rule.sees_all(frame.deepest, 0):
        visible = visible & rule.near(frame.depths[:, None], frame.key_depths)
    merged = Merged.of(query, value)
    merged.begin(slice(None), *rule.whole(query, key, value, visible))
    return merged


def _above(frame: PackFrame, layer: int, block: Block, key: Any, value: Any) -> tuple[Any, Any]:
    if block.on_path:
        key, value = frame.path.layers[layer]
    keys = slice(block.keys.start, block.keys.stop)
    return key[:, keys], value[:, keys]
