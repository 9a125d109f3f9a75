"""Prompts continued together: what they begin with alike is computed once, and a row that is done makes room.

The attention of a step reads the keys of the shared stem once for all rows (Juravsky et al., *Hydragen*,
arXiv:2402.05099); each row's own keys are in its slot. A row leaves as soon as it is done, so no step is computed for
rows that have ended.
"""

from __future__ import annotations

import logging
import math
import random
import time
from array import array
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias

from lmrun.backends.generation import ONLY_SAMPLED, Generation
from lmrun.backends.hf.generating import Answer, Generator, PromptRow, Watch, draw, uniform, warpers
from lmrun.backends.hf.loading import release_memory
from lmrun.backends.hf.plan import Member, Row, padded_length
from lmrun.backends.hf.scoring import NOT_A_NUMBER, Scorer
from lmrun.backends.hf.tree.outlook import Lengths, Outlook, Pace
from lmrun.backends.hf.tree.pack import tail_packs
from lmrun.backends.hf.tree.packed import Path
from lmrun.backends.hf.tree.shared import SharingModel, Unshareable, unless_out_of_memory
from lmrun.backends.hf.tree.slots import Slots, StepFrame, Tap
from lmrun.backends.hf.tree.stems import LEAST_STEM, Stems
from lmrun.backends.hf.tree.trie import Node, build, walk
from lmrun.requests import canonical_json

_log = logging.getLogger(__name__)

_LEAST_ROWS = 8
"""Prompts that must have them in common."""
_MOST_SLOTS = 128
_REFILL = 8
"""New rows are let in when one of this many slots is free: their prompts are computed together."""
_MEANWHILE = 8
"""Requests that can be made ready while the device computes a step."""
_REMEMBERED = 64
"""Steps, and packs of prompts, that tell how long others take."""
_GLANCE = 0.25
"""Seconds between two looks at how long the rest will take."""
_HARMLESS = frozenset(
    "eos_token_id bos_token_id pad_token_id do_sample max_length max_new_tokens transformers_version use_cache "
    "_from_model_config cache_implementation".split()
) | frozenset(ONLY_SAMPLED)
"""Of a generation_config.json: what is not asked of transformers, or seen to here."""

Asked: TypeAlias = tuple[PromptRow, Generation]
Answers: TypeAlias = list[tuple[PromptRow, Answer, Mapping[str, Any]]]
"""With notes on how they were sampled."""


@dataclass(slots=True)
class _Running:
    """A row that is being continued."""

    prompt: PromptRow
    wanted: Generation
    watch: Watch
    style: str
    """Rows of one style are sampled together; empty for those that are not."""
    tokens: list[int] = field(default_factory=list)
    logprob: float = 0.0
    """Of the tokens, where it is asked for."""

    @property
    def depth(self) -> int:
        """The position of its last token."""
        return len(self.prompt.inputs) + len(self.tokens) - 1

    @property
    def left(self) -> int:
        """Tokens that may still come."""
        return self.wanted.max_new_tokens - len(self.tokens)


Done: TypeAlias = tuple[_Running, Answer]


@dataclass(slots=True)
class TreeGenerator:
    """Continues prompts with one model."""

    model: SharingModel
    generator: Generator
    plain: Scorer
    stems: Stems
    max_length: int
    pack_tokens: int
    slot_tokens: int
    """Places of all slots together."""
    outlook: Outlook = field(default_factory=Outlook)
    packs: Pace = field(default_factory=lambda: Pace(_REMEMBERED))
    """By tokens of prompts."""
    steps: Pace = field(default_factory=lambda: Pace(_REMEMBERED))
    meanwhile: Callable[[int], None] = field(default=lambda _: None)
    """Called while the device computes a step, to do something of about so many requests."""
    lengths: Lengths = field(default_factory=Lengths)
    """Of the answers to what is asked together."""
    proven: bool = False
    """An answer was scored without sharing, and had the probability that it was given with."""
    distinct: int = 0
    """Distinct tokens of all prompts so far, without their stems."""
    _ends: Collection[int] = frozenset()
    """Tokens that end an answer."""

    def answers(self, asked: Sequence[Asked], answered: Collection[int]) -> Iterator[Answers]:
        """Continue every prompt that is not answered, in an order of its own; answers as rows are done.

        Raises:
            Unshareable: this model gives other numbers that way; what was yielded is right.
        """
        self._ends = self.generator.end_tokens()
        self.lengths = Lengths()
        groups = [(stem, [one for one in rows if one[0].owner not in answered]) for stem, rows in clusters(asked)]
        streams = [_Stream.of(self, stem, left) for stem, left in groups if left]
        while streams:
            stream, *streams = streams
            self.distinct += stream.distinct
            yield from self._proved(stream.run(streams))

    def can(self, wanted: Generation) -> bool:
        """Whether everything that is asked for is known here, and not by transformers' own generation alone."""
        if self.model.masked:
            return False
        config = self.model.model.generation_config.to_diff_dict()
        stated = {name for name, value in config.items() if value is not None and value is not False}
        if (stated - _HARMLESS) or (set(wanted.options) - set(ONLY_SAMPLED)):
            return False
        try:
            warpers(self.generator.sampling(wanted.options) if wanted.sample else {}, None)
        except (ValueError, TypeError):  # transformers says what is wrong
            return False
        return True

    def start(self, prompt: PromptRow, wanted: Generation) -> _Running:
        """A row of which nothing is there yet."""
        style = canonical_json(dict(wanted.options)) if wanted.sample else ""
        return _Running(prompt, wanted, self.generator.watch(prompt, wanted), style)

    def choose(self, rows: Sequence[_Running], logits: Any) -> list[int | None]:
        """The next token of each row by its ``logits``, float32; None where they are no numbers."""
        tokens = logits.argmax(dim=-1)
        sampled: defaultdict[str, list[int]] = defaultdict(list)
        for i, row in enumerate(rows):
            if row.style:
                sampled[row.style].append(i)
        for alike in sampled.values():
            scores = logits[alike]
            for warp in warpers(self.generator.sampling(rows[alike[0]].wanted.options), logits.device):
                scores = warp(None, scores)
            tokens[alike] = draw(scores, [uniform(rows[i].prompt.key, len(rows[i].tokens)) for i in alike])
        if not self.proven:
            logprobs = logits.log_softmax(dim=-1).gather(1, tokens[:, None])[:, 0].tolist()
            for row, logprob in zip(rows, logprobs, strict=True):
                row.logprob += logprob
        broken = logits.isnan().any(dim=-1).tolist()
        return [None if bad else token for bad, token in zip(broken, tokens.tolist(), strict=True)]

    def take(self, row: _Running, token: int | None) -> Answer | None:
        """Put a token behind a row; its answer, if that was the last."""
        if token is None:
            return Answer("", "stop", 0, error=NOT_A_NUMBER)
        row.tokens.append(token)
        n = len(row.tokens)
        stopped = n if row.watch.feed(token) else None
        self.lengths.tokens += 1
        if stopped is not None or token in self._ends:
            self.lengths.stopped += 1
        elif row.left:
            return None
        return self.generator.answer(row.prompt, row.tokens, stopped, row.wanted)

    def look_ahead(self, streams: Sequence[_Stream]) -> None:
        """Tell how long these will take."""
        needs = [stream.needs() for stream in streams]
        checked = 0 if self.proven else streams[0].path.length
        prompts = self.packs.seconds_for(checked + sum(tokens for tokens, _ in needs))
        answers = self.steps.seconds_for(sum(steps for _, steps in needs))
        self.outlook.rest = None if prompts is None or answers is None else prompts + answers

    def _proved(self, stream: Iterator[list[Done]]) -> Iterator[Answers]:
        for done in stream:
            if not self.proven:
                self._compare(*done[0])
            yield [(row.prompt, answer, self._notes(row.wanted)) for row, answer in done]

    def _notes(self, wanted: Generation) -> Mapping[str, Any]:
        return {"sampling": self.generator.sampling(wanted.options)} if wanted.sample else {}

    def _compare(self, row: _Running, answer: Answer) -> None:
        """Score an answer once more, without sharing. Raises :class:`Unshareable` if that gives another number."""
        if answer.error:
            return
        inputs = row.prompt.inputs + array("i", row.tokens[:-1])
        member = Member(row.prompt.owner, 0, array("i", row.tokens))
        alone = self.plain.score([Row(inputs, (member,))], padded_length(len(inputs), self.max_length))[0]
        self.model.probed += len(inputs)
        if not abs(alone.logprob - row.logprob) <= self.model.tolerance(len(row.tokens)):
            found = f"{row.logprob:.6g} with a shared prefix and {alone.logprob:.6g} without"
            raise Unshareable(f"an answer has the log-likelihood {found}")
        self.proven = True


def clusters(asked: Sequence[Asked]) -> Iterator[tuple[int, Sequence[Asked]]]:
    """Prompts that begin alike, and for how many tokens: all of them, or those below each beginning that many share.

    The last token of a prompt is never part of that: what follows it is what is asked for.
    """
    by_inputs: defaultdict[bytes, list[Asked]] = defaultdict(list)
    for one in asked:
        by_inputs[one[0].inputs.tobytes()].append(one)
    groups = list(by_inputs.values())
    node = build([group[0][0].inputs for group in groups], range(len(groups)))
    while len(node.children) == 1 and node.ends is None:
        node = node.children[0]
    if node.end >= LEAST_STEM:
        yield _cluster(node, groups)
        return
    rest: list[Asked] = []
    for child in node.children:
        stem, rows = _cluster(child, groups)
        if stem >= LEAST_STEM and len(rows) >= _LEAST_ROWS:
            yield stem, rows
        else:
            rest += rows
    if node.ends is not None:
        rest += groups[node.ends]
    if rest:
        yield 0, rest


def _cluster(node: Node, groups: Sequence[Sequence[Asked]]) -> tuple[int, list[Asked]]:
    below = [n.ends for n in (node, *walk(node)) if n.ends is not None]
    shortest = min(len(groups[i][0][0].inputs) for i in below)
    return min(node.end, shortest - 1), [one for i in below for one in groups[i]]


@dataclass(slots=True)
class _Stream:
    """Rows below one stem, on their way."""

    owner: TreeGenerator
    stem: int
    waiting: deque[_Running]
    limit: int
    """Slots."""
    active: list[_Running] = field(default_factory=list)
    """By slot."""
    slots: Slots = field(default_factory=Slots)
    path: Path = field(init=False)
    looked: float = -math.inf
    """When it last looked how long the rest will take."""

    def __post_init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self.active, self.slots = [], Slots()
        self.path = Path(max(len(row.prompt.inputs) for row in self.waiting))

    @classmethod
    def of(cls, owner: TreeGenerator, stem: int, asked: Sequence[Asked]) -> _Stream:
        """What takes longest first, otherwise at random: so what is done early is like what is left."""
        longest = max(len(row.inputs) - stem + wanted.max_new_tokens for row, wanted in asked)
        rows = sorted(asked, key=lambda one: one[0].owner)
        random.Random(len(rows)).shuffle(rows)
        rows.sort(key=lambda one: -one[1].max_new_tokens)
        limit = max(1, min(_MOST_SLOTS, owner.slot_tokens // longest))
        return cls(owner, stem, deque(owner.start(*one) for one in rows), limit)

    @property
    def distinct(self) -> int:
        """Distinct tokens of the prompts that wait, below the stem."""
        tails = {row.prompt.inputs.tobytes(): len(row.prompt.inputs) - self.stem for row in self.waiting}
        return sum(tails.values())

    def needs(self) -> tuple[int, float]:
        """Tokens of prompts that are still to be computed, and steps, as far as one can tell."""
        lengths, rows = self.owner.lengths, [*self.active, *self.waiting]
        if not rows:
            return 0, 0.0
        answers = sum(lengths.expected(row.left) for row in rows)
        longest = lengths.longest(max(row.left for row in rows), len(rows))
        return self._prompt_tokens(self.waiting), max(answers / self.limit, longest)

    def _prompt_tokens(self, rows: Iterable[_Running]) -> int:
        return sum(len(row.prompt.inputs) - self.stem for row in rows)

    def run(self, later: Sequence[_Stream]) -> Iterator[list[Done]]:
        """Continue all rows; those that are done, step by step. ``later``: what comes after it."""
        import torch

        n, done_so_far = len(self.waiting), 0
        while self.waiting or self.active:
            with torch.inference_mode():
                done = self._within_memory()
            done_so_far += len(done)
            written = f"{self.owner.lengths.tokens:,} tokens"
            self.owner.outlook.phase = f"{done_so_far:,}/{n:,} answers, {len(self.active)} at once, {written}"
            if time.monotonic() - self.looked > _GLANCE or not (self.waiting or self.active):
                self.looked = time.monotonic()
                self.owner.look_ahead([self, *later])
            if done:
                yield done

    def _within_memory(self) -> list[Done]:
        done = unless_out_of_memory(self._go_on, self.owner.proven)
        if done is None:
            self._retreat()
        return done or []

    def _retreat(self) -> None:
        """Begin again with half as many rows at once."""
        if self.limit == 1:
            raise Unshareable("memory is too short for the keys and values of a prefix")
        self.limit = max(1, min(self.limit, len(self.active) or self.limit) // 2)
        _log.warning("out of memory", extra={"fields": {"slots": self.limit}})
        for row in reversed(self.active):
            self.waiting.appendleft(self.owner.start(row.prompt, row.wanted))
        self._forget()
        self.owner.stems.clear()
        release_memory()

    def _go_on(self) -> list[Done]:
        if self.stem and not self.path.layers:
            self.owner.stems.put(self.path, self.waiting[0].prompt.inputs[: self.stem], proven=self.owner.proven)
        done = []
        free = self.limit - len(self.active)
        if self.waiting and free * _REFILL >= self.limit:
            count = min(free, len(self.waiting))
            with self.owner.packs.timed(self._prompt_tokens(islice(self.waiting, count))):
                done = self._let_in(count)
        with self.owner.steps.timed(1):
            return done + (self._step() if self.active else [])

    # -- prompts -------------------------------------------------------------------------------------------------------

    def _let_in(self, count: int) -> list[Done]:
        import torch

        new = [self.waiting.popleft() for _ in range(count)]
        first = len(self.active)
        # Prompts that are asked several times are computed once.
        slot_of: dict[bytes, int] = {}
        for slot, row in enumerate(new, first):
            slot_of.setdefault(row.prompt.inputs.tobytes(), slot)
        distinct = list(slot_of.values())
        inputs = [new[slot - first].prompt.inputs for slot in distinct]
        self.active += new
        self.slots.fit(len(self.active), max(map(len, inputs)) - self.stem)
        last: dict[int, Any] = {}
        left = sum(len(row) - self.stem for row in inputs)
        for pack in tail_packs(self.stem, [len(row) for row in inputs], self.owner.pack_tokens):
            taps = [Tap(range(p.at, p.stop), distinct[p.node.row], p.start - self.stem) for p in pack.pieces]
            ends = {distinct[p.node.row]: p.stop - 1 for p in pack.pieces if p.end == p.node.end}
            self.owner.outlook.phase = f"{count:,} prompts, {left:,} tokens"
            hidden = self.owner.model.forward(pack, self.path, inputs, ends.values(), self.slots, taps)
            left -= pack.size
            self.path.step()
            self.owner.model.forwarded += pack.size
            last |= {slot: hidden[place] for slot, place in ends.items()}
        sources = [slot_of[row.prompt.inputs.tobytes()] for row in new]
        for slot, source in enumerate(sources, first):
            if slot != source:
                self.slots.copy(source, slot)
        return self._advance(first, torch.stack([last[source] for source in sources]))

    # -- answers -------------------------------------------------------------------------------------------------------

    def _step(self) -> list[Done]:
        import torch

        model = self.owner.model
        depths = [row.depth for row in self.active]
        self.slots.fit(len(self.active), max(depths) + 1 - self.stem)
        frame = StepFrame(self.slots, self.path, self.stem, torch.tensor(depths, device=model.device))
        hidden = model.hidden(frame, [row.tokens[-1] for row in self.active])
        self.owner.meanwhile(_MEANWHILE)
        model.decoded += len(self.active)
        return self._advance(0, hidden)

    def _advance(self, first: int, hidden: Any) -> list[Done]:
        """Give the rows from slot ``first`` on their next token."""
        logits = self.owner.model.logits(hidden).float()
        rows = self.active[first:]
        tokens = self.owner.choose(rows, logits)
        done: dict[int, Done] = {}
        for slot, (row, token) in enumerate(zip(rows, tokens, strict=True), first):
            answer = self.owner.take(row, token)
            if answer:
                done[slot] = (row, answer)
        for slot in sorted(done, reverse=True):
            self._leave(slot)
        return list(done.values())

    def _leave(self, slot: int) -> None:
        last = self.active.pop()
        if slot < len(self.active):
            self.active[slot] = last
            self.slots.copy(len(self.active), slot)
