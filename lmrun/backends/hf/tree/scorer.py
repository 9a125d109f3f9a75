"""Log-probabilities of given tokens, each distinct prefix of the rows computed once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from lmrun.backends.hf.loading import release_memory
from lmrun.backends.hf.plan import Row, padded_length
from lmrun.backends.hf.scoring import Score, Scorer
from lmrun.backends.hf.tree.outlook import Outlook, Pace
from lmrun.backends.hf.tree.pack import Pack
from lmrun.backends.hf.tree.packed import Path
from lmrun.backends.hf.tree.plan import Read, Tally, Tree
from lmrun.backends.hf.tree.shared import LEAST_TOKENS, SharingModel, Unshareable, unless_out_of_memory
from lmrun.backends.hf.tree.stems import Stems

_log = logging.getLogger(__name__)

_ALIKE = 0.9
"""Of the longest row's tokens, so many show what it would."""
_MEANWHILE = 128
"""Requests that can be made ready while the device computes a pack; it holds about as many."""
_REMEMBERED = 8
"""Packs that tell how long others take."""

Found: TypeAlias = list[tuple[int, Score]]
"""Scores, each with the number of its row."""


@dataclass(slots=True)
class TreeScorer:
    """Scores rows with one model."""

    model: SharingModel
    plain: Scorer
    stems: Stems
    max_length: int
    pack_tokens: int
    first_tokens: int | None = None
    """Of the first pack, where packs take long: what comes early shows that it works, and how fast."""
    outlook: Outlook = field(default_factory=Outlook)
    pace: Pace = field(default_factory=lambda: Pace(_REMEMBERED))
    """By tokens."""
    meanwhile: Callable[[int], None] = field(default=lambda _: None)
    """Called while the device computes a pack, to do something of about so many requests."""
    distinct: int = 0
    """Distinct tokens of all trees so far, without their stems."""
    most: int | None = None
    """Tokens of a pack that fits into memory, once one did not."""
    proven: int = 0
    """Length of the longest row of which both ways agreed."""

    def scores(self, rows: Sequence[Row], answered: frozenset[int]) -> Iterator[list[Score]]:
        """Scores of all members that are not answered, pack by pack.

        Raises:
            Unshareable: this model gives other numbers that way, or memory is short; what was yielded is right.
        """
        if not rows:
            return
        tree = Tree.of(rows, self.pack_tokens, self.stems.most, self.first_tokens)
        self.distinct += tree.size
        walk = _Walk(self, tree, Path(tree.length), Tally(tree), answered)
        todo = tree.wanted(answered)
        proof = _Proof.of(tree, answered) if tree.length > self.proven else None
        packs = [pack for pack in tree.plan if pack.number in todo]
        left = sum(pack.size for pack in packs)
        if packs and tree.stem:
            self._look_ahead(f"what all begin with, {tree.stem:,} tokens", tree.stem + left)
            self.stems.put(walk.path, tree.inputs[0][: tree.stem], proven=bool(self.proven))
        for pack in packs:
            self._look_ahead(f"pack {pack.number + 1:,}/{len(tree.plan):,}, {pack.size:,} tokens", left)
            with self.pace.timed(pack.size, self.pack_tokens):
                found = walk.run(pack)
            left -= pack.size
            self._look_ahead(self.outlook.phase, left)
            if proof:
                found = proof.add(found)
                if not found:
                    continue
                self._compare(tree, proof.rows(found))
                proof = None
            yield [score for _, score in found]

    def _look_ahead(self, phase: str, tokens: int) -> None:
        self.outlook.phase, self.outlook.rest = phase, self.pace.seconds_for(tokens)

    def _compare(self, tree: Tree, found: Found) -> None:
        """Score rows once more, alone and without sharing. Raises :class:`Unshareable` if that gives other numbers."""
        for i, score in found:
            row = Row(tree.rows[i].inputs, (score.member,))
            alone = self.plain.score([row], padded_length(len(row.inputs), self.max_length))[0]
            self.model.probed += len(row.inputs)
            if score.error or alone.error:
                continue
            allowed = self.model.tolerance(len(score.member.continuation))
            if not abs(score.logprob - alone.logprob) <= allowed:
                raise Unshareable(
                    f"a log-likelihood is {score.logprob:.6g} with shared prefixes and {alone.logprob:.6g} without"
                )
        self.proven = tree.length


@dataclass(slots=True)
class _Proof:
    """Holds the first scores back until there is enough of them to be checked."""

    tree: Tree
    awaited: int | None
    """The longest row, unless it is answered."""
    held: Found

    @classmethod
    def of(cls, tree: Tree, answered: frozenset[int]) -> _Proof:
        return cls(tree, tree.longest if tree.rows[tree.longest].without(answered).members else None, [])

    def add(self, found: Found) -> Found:
        """Everything that was held back, once it is enough."""
        self.held += found
        rows = {i for i, _ in self.held}
        return self.held if rows and (self.awaited is None or self.awaited in rows) else []

    def rows(self, found: Found) -> Found:
        """What is checked: the last row, where it is about as long as the longest; else the longest and another.

        The last one has others before it, whose tokens it must not see.
        """
        by_row = dict(reversed(found))
        first = next(iter(by_row)) if self.awaited is None else self.awaited
        others = [i for i in by_row if i != first]
        lengths = {i: len(self.tree.rows[i].inputs) for i in by_row}
        alike = [i for i in others if lengths[i] >= _ALIKE * lengths[first]]
        return [(i, by_row[i]) for i in alike[:1] or (first, *others[:1])]


@dataclass(slots=True)
class _Walk:
    """One way through a tree."""

    scorer: TreeScorer
    tree: Tree
    path: Path
    tally: Tally
    answered: frozenset[int]

    def run(self, pack: Pack) -> Found:
        """What is known after a pack, which is computed in as many parts as memory demands."""
        found: Found = []
        waiting = self._split([pack])
        while waiting:
            part = waiting.pop(0)
            scores = unless_out_of_memory(partial(self._compute, part), bool(self.scorer.proven))
            if scores is not None:
                found += scores
                continue
            self.path.stay()
            self.scorer.stems.clear()
            release_memory()
            _log.warning("out of memory", extra={"fields": {"tokens": part.size}})
            if part.size <= LEAST_TOKENS:
                raise Unshareable("memory is too short for the keys and values of a prefix")
            self.scorer.most = part.size // 2
            waiting = self._split([part, *waiting])
        return found

    def _split(self, packs: Sequence[Pack]) -> list[Pack]:
        most = self.scorer.most
        return [part for pack in packs for part in (pack.split(most) if most else [pack])]

    def _compute(self, pack: Pack) -> Found:
        import torch

        model = self.scorer.model
        # Of answered requests as well: the number of logits that are computed together can change their last bit.
        reads = list(self.tree.reads(pack))
        with torch.inference_mode():
            places = [place for read in reads for place in read.places]
            hidden = model.forward(pack, self.path, self.tree.inputs, set(places))
            self.scorer.meanwhile(_MEANWHILE)
            values = model.logprobs(hidden, places, [token for read in reads for token in read.tokens])
        self.path.step()
        model.forwarded += pack.size
        return self._tallied(reads, *values)

    def _tallied(self, reads: Sequence[Read], logprobs: Sequence[float], greedy: Sequence[bool]) -> Found:
        found: Found = []
        start = 0
        for read in reads:
            end = start + len(read.tokens)
            score = self.tally.add(read, logprobs[start:end], greedy[start:end])
            if score and score.member.owner not in self.answered:
                found.append((read.row, score))
            start = end
        return found
