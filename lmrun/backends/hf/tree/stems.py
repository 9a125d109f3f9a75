"""What many prompts begin with: computed once, and kept for whoever begins alike, in later jobs as well."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass, field
from functools import partial

from lmrun.backends.hf.loading import release_memory
from lmrun.backends.hf.tree.pack import stem_packs
from lmrun.backends.hf.tree.packed import Layers, Path
from lmrun.backends.hf.tree.shared import LEAST_TOKENS, SharingModel, Unshareable, unless_out_of_memory

LEAST_STEM = 16
"""Tokens that prompts must have in common to be worth a stem."""


@dataclass(slots=True)
class Stems:
    """Keys and values of stems in chunks, those used last.

    What a chunk takes to compute again hardly depends on where it stands, so the one that was not needed for longest
    is the cheapest to give up; of one stem that is the last.
    """

    model: SharingModel
    pack_tokens: int
    chunk: int
    """Tokens that are computed and kept together: beginnings of different length share whole chunks."""
    most: int
    """Tokens of all that are kept."""
    distinct: int = 0
    """Tokens of all different stems so far."""
    _kept: dict[bytes, Layers] = field(default_factory=dict)
    """By what comes up to their end, in the order of their last use."""
    _met: set[bytes] = field(default_factory=set)

    def put(self, path: Path, tokens: array[int], *, proven: bool) -> None:
        """Lay a stem at the beginning of a path. ``proven``: this model is known to share prefixes well.

        Raises:
            Unshareable: the model does not take what sharing asks of it, or memory is short.
        """
        bench: Path | None = None
        found: dict[bytes, Layers] = {}
        key = b""
        for start in range(0, len(tokens), self.chunk):
            chunk = tokens[start : start + self.chunk]
            key = hashlib.blake2b(key + chunk.tobytes(), digest_size=16).digest()
            self._meet(key, len(chunk))
            layers = self._kept.pop(key, None)
            if layers is None:
                bench = _bench(bench, path, start, start + len(chunk))
                layers = self._computed(bench, tokens, range(start, start + len(chunk)), proven)
            if len(chunk) == self.chunk:
                found[key] = layers
            path.put(start, layers)
        self._keep(found)

    def clear(self) -> None:
        """Give all memory back."""
        self._kept.clear()

    def _meet(self, key: bytes, size: int) -> None:
        if key not in self._met:
            self._met.add(key)
            self.distinct += size

    def _keep(self, stem: dict[bytes, Layers]) -> None:
        self._kept |= dict(reversed(stem.items()))
        while len(self._kept) * self.chunk > self.most:
            del self._kept[next(iter(self._kept))]

    def _computed(self, bench: Path, tokens: array[int], depths: range, proven: bool) -> Layers:
        size = min(self.pack_tokens, self.chunk)
        while (layers := unless_out_of_memory(partial(self._compute, bench, tokens, depths, size), proven)) is None:
            bench.stay()
            self.clear()
            release_memory()
            if size <= LEAST_TOKENS:
                raise Unshareable("memory is too short for the keys and values of a prefix")
            size //= 2
        return layers

    def _compute(self, bench: Path, tokens: array[int], depths: range, size: int) -> Layers:
        import torch

        with torch.inference_mode():
            for pack in stem_packs(depths, size):
                self.model.forward(pack, bench, [tokens], ())
                bench.step()
        self.model.forwarded += len(depths)
        return {layer: (key.clone(), value.clone()) for layer, (key, value) in bench.part(depths).items()}


def _bench(before: Path | None, path: Path, start: int, end: int) -> Path:
    """A path to compute tokens on, with those before them.

    Its size depends on nothing but where they end, so that they come out the same to the last bit, whichever job needs
    them first.
    """
    length = 1 << (end - 1).bit_length()
    if before and before.length == length:
        return before
    bench = Path(length)
    bench.put(0, path.part(range(start)))
    return bench
