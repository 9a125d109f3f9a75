"""Rows that are being continued: each has a slot for the keys and values of its own tokens, below a stem they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmrun.backends.hf.tree.softmax import Merged, Rule

if TYPE_CHECKING:
    from lmrun.backends.hf.tree.packed import Path

_STEP = 64
"""Slots grow by this many places: keys are seldom moved, and hardly any are looked at in vain."""


@dataclass(frozen=True, slots=True)
class Tap:
    """Tokens of a pack that belong to a row."""

    places: range
    slot: int
    start: int
    """Of the first, in the slot."""


@dataclass(slots=True)
class Slots:
    """Keys and values by layer: ``[slot, heads, place, size]`` each."""

    count: int = 0
    length: int = 0
    layers: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    def fit(self, count: int, length: int) -> None:
        """Make room for so many slots of so many places; what they hold stays."""
        self.count = max(self.count, count)
        self.length = max(self.length, -(-length // _STEP) * _STEP)

    def tap(self, layer: int, taps: Sequence[Tap], key: Any, value: Any) -> None:
        """Take tokens out of ``[heads, place, size]``."""
        tables = self._tables(layer, key, value)
        for tap in taps:
            for table, new in zip(tables, (key, value), strict=True):
                kept = new[:, tap.places.start : tap.places.stop]
                table[tap.slot, :, tap.start : tap.start + len(tap.places)] = kept

    def append(self, layer: int, places: Any, key: Any, value: Any) -> tuple[Any, Any]:
        """Put one token, of ``[heads, slot, size]``, to its place in each of the first slots; returns the tables."""
        import torch

        tables = self._tables(layer, key, value)
        slots = torch.arange(len(places), device=places.device)
        for table, new in zip(tables, (key, value), strict=True):
            table[slots, :, places] = new.transpose(0, 1)
        return tables

    def copy(self, source: int, target: int) -> None:
        """Make one slot like another."""
        for tables in self.layers.values():
            for table in tables:
                table[target] = table[source]

    def _tables(self, layer: int, key: Any, value: Any) -> tuple[Any, Any]:
        before = self.layers.get(layer) or (None, None)
        if before[0] is None or before[0].shape[0] < self.count or before[0].shape[2] < self.length:
            self.layers[layer] = (self._grown(before[0], key), self._grown(before[1], value))
        return self.layers[layer]

    def _grown(self, before: Any, like: Any) -> Any:
        grown = like.new_zeros((self.count, like.shape[0], self.length, like.shape[2]))
        if before is not None:
            grown[: before.shape[0], :, : before.shape[2]] = before
        return grown


@dataclass(frozen=True)
class StepFrame:
    """A forward pass over one further token of each of the first slots."""

    slots: Slots
    path: Path
    stem: int
    """Tokens of the path above all slots."""
    depths: Any
    """Tensor of the position of each token in its row."""

    @property
    def size(self) -> int:
        """Tokens."""
        return len(self.depths)

    def attend(self, layer: int, rule: Rule, query: Any, key: Any, value: Any) -> Merged:
        """The attention of a layer, over ``[heads, slot, size]``."""
        keys, values = self.slots.append(layer, self.depths - self.stem, key, value)
        visible = self._own if self._near(rule) else self._own & rule.near(self.depths[:, None], self._own_depths)
        keys, values = (table[: self.size, :, : self._length].transpose(0, 1) for table in (keys, values))
        output, total = rule.boxes(query[:, :, None], keys, values, visible[:, None])
        merged = Merged.of(query, value)
        merged.begin(slice(None), output[:, :, 0], total[:, :, 0])
        if self.stem:
            keys, values = (table[:, : self.stem] for table in self.path.layers[layer])
            near = None if self._near(rule) else rule.near(self.depths[:, None], self._stem_depths)
            merged.add(slice(None), *rule.part(query, keys, values, near))
        return merged

    def _near(self, rule: Rule) -> bool:
        return rule.sees_all(self._deepest, 0)

    @cached_property
    def _deepest(self) -> int:
        return int(self.depths.max())

    @cached_property
    def _length(self) -> int:
        """Places of the slots that are looked at."""
        return -(-(self._deepest + 1 - self.stem) // _STEP) * _STEP

    @cached_property
    def _own_depths(self) -> Any:
        import torch

        return self.stem + torch.arange(self._length, device=self.depths.device)

    @cached_property
    def _stem_depths(self) -> Any:
        import torch

        return torch.arange(self.stem, device=self.depths.device)

    @cached_property
    def _own(self) -> Any:
        return self._own_depths <= self.depths[:, None]
