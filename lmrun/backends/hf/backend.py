"""The ``hf`` backend: identity, loading, and the way from requests over batches to responses."""

from __future__ import annotations

import gc
import logging
from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from typing import Any, TypeAlias, TypeVar

from lmrun.backends.base import Chunk, ModelIdentity, ModelSpec, Usage
from lmrun.backends.generation import Generation
from lmrun.backends.hf.desk import Desk
from lmrun.backends.hf.generating import Answer, PromptRow
from lmrun.backends.hf.identify import identify, resolve_dtype, stated_max_length
from lmrun.backends.hf.loaded import GENERATION_BATCHES, Loaded
from lmrun.backends.hf.loading import load_counter, load_encoder, load_model, quiet, release_memory
from lmrun.backends.hf.options import HfOptions
from lmrun.backends.hf.packages import check_packages
from lmrun.backends.hf.plan import Room, Row, batches, merge_rows, padded_length, rounds
from lmrun.backends.hf.scoring import Score
from lmrun.backends.hf.seq2seq import Seq2SeqLoaded
from lmrun.backends.hf.sources import Sources, read_config
from lmrun.backends.hf.tree.generator import Asked
from lmrun.backends.hf.tree.outlook import Outlook
from lmrun.backends.hf.tree.scorer import TreeScorer
from lmrun.backends.hf.tree.shared import Unshareable, unless_out_of_memory
from lmrun.backends.templates import delimiters
from lmrun.backends.tokenize import Unanswerable
from lmrun.errors import BackendError
from lmrun.requests import Request, Response, ResponseError, canonical_json

_log = logging.getLogger(__name__)
_In = TypeVar("_In")
_Out = TypeVar("_Out")

_ROUND_BATCHES = 8
"""Batches of windows after which long texts are finished and kept."""
Claim: TypeAlias = Callable[[Collection[int]], Collection[int]]
"""Asked before anything is computed: which of these positions this process is to answer."""
_TOO_BIG = ResponseError("out_of_memory", "this request alone does not fit into memory")


class HfBackend:
    """A language model of transformers, causal or encoder-decoder."""

    def __init__(self, spec: ModelSpec, claim: Claim = frozenset, shares: int = 1) -> None:
        """``claim`` and ``shares`` are for replicas, which answer one job together.

        Requests that share prefixes are claimed in so many shares, others batch by batch.
        """
        self._spec = spec
        self._claim = claim
        self._shares = shares
        self._options = HfOptions.of(spec)
        self._loaded: Loaded | None = None
        self._scoring_room = Room()
        self._generation_room = Room()
        self._usage = Usage()
        self._desk: Desk
        self._outlook: Outlook | None = None
        """Of what is computed with shared prefixes just now."""

    # -- who it is -----------------------------------------------------------------------------------------------------

    def identify(self) -> ModelIdentity:
        """Say who the model is from its files. Raises :class:`~lmrun.errors.BackendError`."""
        check_packages(self._options, self._config())
        return identify(self._sources, self._options)

    @cached_property
    def _sources(self) -> Sources:
        return Sources.of(self._spec, self._options)

    # -- loading -------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Load tokenizer and model. Raises :class:`~lmrun.errors.BackendError`."""
        if self._loaded:
            return
        config = self._config()
        check_packages(self._options, config)
        encoder = load_encoder(self._sources.tokenizer, self._options)
        # A million objects of torch and transformers stay for good: no collection need look at them again.
        gc.freeze()
        with quiet():
            model = load_model(self._sources, self._options, resolve_dtype(self._options.dtype, config))
        folder = self._sources.tokenizer.folder
        stated = stated_max_length(model.config.to_dict(), folder)
        found = delimiters(folder, self._options.reasoning, self._options.chat_template)
        loaded = Seq2SeqLoaded if model.config.is_encoder_decoder else Loaded
        self._loaded = loaded.of(model, encoder, self._options.max_length or stated, self._options, found)
        self._desk = Desk(self._loaded)
        if shared := self._loaded.shared:
            shared.scorer.meanwhile = shared.generator.meanwhile = self._desk.meanwhile
        if self._options.compile:
            with quiet():
                self._loaded.try_out()
        self._usage = Usage(phase="loaded", device=str(self._loaded.device), facts=self._loaded.facts())

    def _config(self) -> dict[str, Any]:
        """``config.json``; a GGUF file has a configuration of its own."""
        return {} if self._options.gguf_file else read_config(self._sources.model)

    def counter(self) -> Callable[[Request], int]:
        """Counts prompt tokens with the tokenizer. Raises :class:`~lmrun.errors.BackendError`."""
        return load_counter(self._sources.tokenizer, self._options)

    def close(self) -> None:
        """Free the model and its memory."""
        if self._loaded:
            self._loaded = None
            del self._desk  # it holds the model as well
            release_memory()

    def usage(self) -> Usage:
        """What is being computed, and the facts of the loaded model."""
        outlook = self._outlook
        return replace(self._usage, phase=outlook.phase, rest=outlook.rest) if outlook else self._usage

    def foresee(self, requests: Iterator[Request]) -> None:
        """These are likely to be asked next: they are made ready while the device computes."""
        self._desk.foresee(requests)

    # -- answering -----------------------------------------------------------------------------------------------------

    def run(self, requests: Sequence[Request], answered: Collection[int] = frozenset()) -> Iterator[Chunk]:
        """Answer requests of one kind, a batch at a time.

        Raises:
            BackendError: the model is not loaded, or messages are to be put into a chat template that it has not got.
        """
        loaded = self._loaded
        if loaded is None:
            raise BackendError(f'model "{self._spec.name}" is not loaded', hint="call load() first")
        self._outlook = None
        if not requests:
            return iter(())
        if any(not isinstance(r.context, str) for r in requests) and not loaded.encoder.has_chat_template():
            raise BackendError(
                f'model "{self._spec.name}" has no chat template, and the prompts are messages',
                hint="apply_chat_template = false, or name a file with a template as chat_template of the model",
            )
        kinds: dict[str, Callable[[Loaded, Sequence[Request], frozenset[int]], Iterator[Chunk]]] = {
            "loglikelihood": self._run_pairs,
            "loglikelihood_rolling": self._run_rolling,
            "generate_until": self._run_generation,
        }
        return kinds[requests[0].kind](loaded, requests, frozenset(answered))

    def _run_pairs(self, loaded: Loaded, requests: Sequence[Request], answered: frozenset[int]) -> Iterator[Chunk]:
        drafted, refused = self._desk.drafts(requests, loaded.pair)
        yield from self._unasked(answered, refused)
        rows = [row.owned(i) for i, (row, _) in drafted.items()]
        for scores in self._score(loaded, [rows], answered):
            yield [(s.member.owner, _scored(drafted[s.member.owner][1], s)) for s in scores]

    def _run_rolling(self, loaded: Loaded, requests: Sequence[Request], answered: frozenset[int]) -> Iterator[Chunk]:
        drafted, ready = self._desk.drafts(requests, loaded.windows)
        texts = {i: [row.owned(i) for row in rows] for i, rows in drafted.items()}
        ready |= {i: Response(logprob=0.0) for i, rows in texts.items() if not rows}
        yield from self._unasked(answered, ready)
        parts: defaultdict[int, dict[int, Score]] = defaultdict(dict)
        together = rounds(list(texts.values()), loaded.shape.batch_tokens * _ROUND_BATCHES)
        for scores in self._score(loaded, together, answered):
            for score in scores:
                parts[score.member.owner][score.member.part] = score
            finished = [i for i in {s.member.owner: None for s in scores} if len(parts[i]) == len(texts[i])]
            if finished:
                yield [(i, _rolled(texts[i], parts.pop(i))) for i in finished]

    def _run_generation(self, loaded: Loaded, requests: Sequence[Request], answered: frozenset[int]) -> Iterator[Chunk]:
        drafted, refused = self._desk.drafts(requests, loaded.prompt)
        yield from self._unasked(answered, refused)
        asked = [(replace(row, owner=i), wanted) for i, (wanted, row, _) in drafted.items()]
        drafts = {i: response for i, (_, _, response) in drafted.items()}
        done: set[int] = set()
        for chunk in self._generate_shared(loaded, asked, drafts, answered):
            done.update(i for i, _ in chunk)
            yield chunk
        alike: defaultdict[str, list[Asked]] = defaultdict(list)
        for row, wanted in asked:
            if row.owner not in done:
                alike[_kind(wanted)].append((row, wanted))
        for name in sorted(alike):
            rows = sorted(
                (row for row, _ in alike[name]), key=lambda row: (-len(row.inputs), row.inputs.tobytes(), row.owner)
            )
            yield from self._generate(loaded, alike[name][0][1], rows, drafts, answered)

    def _generate_shared(
        self, loaded: Loaded, asked: Sequence[Asked], drafts: Mapping[int, Response], answered: frozenset[int]
    ) -> Iterator[Chunk]:
        """Answers to those prompts that can be continued with a shared prefix, until that turns out to be wrong."""
        if not loaded.shared:
            return
        generator = loaded.shared.generator
        # Most requests ask for the same, and looking through what transformers could do takes its time.
        kinds = {_kind(wanted): wanted for _, wanted in asked}
        possible = {kind for kind, wanted in kinds.items() if generator.can(wanted)}
        together = [one for one in asked if _kind(one[1]) in possible]
        if len(together) == len(asked):
            self._look_to(generator.outlook)
        try:
            for others in self._shares_of([(row.inputs, row.owner) for row, _ in together], answered):
                for answers in generator.answers(together, others):
                    self._usage = replace(self._usage, facts=loaded.facts())
                    yield [(row.owner, _generated(drafts[row.owner], answer, notes)) for row, answer, notes in answers]
        except Unshareable as reason:
            loaded.unshare(str(reason))

    def _look_to(self, outlook: Outlook) -> None:
        outlook.phase, outlook.rest = "looking for what prompts have in common", None
        self._outlook = outlook

    def _unasked(self, answered: frozenset[int], ready: Mapping[int, Response]) -> Iterator[Chunk]:
        mine = self._claim(ready.keys() - answered)
        if mine:
            yield [(i, ready[i]) for i in sorted(mine)]

    # -- batches -------------------------------------------------------------------------------------------------------

    def _score(
        self, loaded: Loaded, rounds: Iterable[Sequence[Row]], answered: frozenset[int]
    ) -> Iterator[list[Score]]:
        """Scores of rows: with shared prefixes all together if this model can, else round by round."""
        rounds = list(rounds)
        done: set[tuple[int, int]] = set()
        if loaded.shared:
            self._look_to(loaded.shared.scorer.outlook)
            try:
                for scores in self._score_shared(loaded.shared.scorer, [r for rows in rounds for r in rows], answered):
                    done.update((score.member.owner, score.member.part) for score in scores)
                    self._usage = replace(self._usage, facts=loaded.facts())
                    yield scores
                return
            except Unshareable as reason:
                loaded.unshare(str(reason))
        for rows in rounds:
            yield from self._score_alone(loaded, merge_rows([row.without((), done) for row in rows]), answered)

    def _score_shared(self, scorer: TreeScorer, rows: Sequence[Row], answered: frozenset[int]) -> Iterator[list[Score]]:
        merged = merge_rows(rows)
        for others in self._shares_of([(row.inputs, m.owner) for row in merged for m in row.members], answered):
            yield from scorer.scores(merged, others)

    def _shares_of(
        self, inputs: Sequence[tuple[array[int], int]], answered: frozenset[int]
    ) -> Iterator[frozenset[int]]:
        """The requests that are not to be answered, share by share. Neighbors share prefixes, and stay together."""
        if self._shares > 1:
            inputs = sorted(inputs, key=lambda one: one[0])
        ordered = list(dict.fromkeys(owner for _, owner in inputs))
        size = -(-len(ordered) // self._shares) or 1
        for start in range(0, len(ordered), size):
            if mine := self._claim(frozenset(ordered[start : start + size]) - answered):
                yield frozenset(ordered).difference(mine) | answered

    def _score_alone(self, loaded: Loaded, rows: Sequence[Row], answered: frozenset[int]) -> Iterator[list[Score]]:
        """Scores batch by batch; what belongs to answered requests is left out, the batches stay the same."""
        rows = [row for row in rows if row.members]
        scorer = loaded.scorer()
        lengths = [padded_length(len(row.inputs), loaded.max_length) for row in rows]
        plan = list(batches(lengths, loaded.shape))
        for number, batch in enumerate(plan):
            length = lengths[batch[0]]
            mine = self._claim(frozenset(m.owner for i in batch for m in rows[i].members) - answered)
            todo = [kept for i in batch if (kept := rows[i].only(mine)).members]

            def answer(part: Sequence[Row], length: int = length) -> list[Score]:
                return scorer.score(part, length)

            self._show(number, len(plan), len(todo), len(batch) * length)
            yield from _within_memory(todo, length, self._scoring_room, answer, _unscored)
        self._usage = replace(self._usage, facts=loaded.facts())

    def _generate(
        self,
        loaded: Loaded,
        wanted: Generation,
        rows: Sequence[PromptRow],
        drafts: Mapping[int, Response],
        answered: frozenset[int],
    ) -> Iterator[Chunk]:
        generator = loaded.generator()
        most = loaded.longest_prompt(wanted.max_new_tokens)
        lengths = [loaded.padded_prompt(len(row.inputs), most) for row in rows]
        shape = replace(loaded.shape, batch_tokens=loaded.shape.batch_tokens * GENERATION_BATCHES)
        unpadded = [length * (len(row.inputs) == length) for row, length in zip(rows, lengths, strict=True)]
        plan = list(batches(lengths, shape, unpadded.__getitem__, wanted.max_new_tokens, shape.row_multiple))
        notes = {"sampling": generator.sampling(wanted.options)} if wanted.sample else {}
        for number, batch in enumerate(plan):
            length = lengths[batch[0]]
            mine = self._claim(frozenset(rows[i].owner for i in batch) - answered)
            todo = [rows[i] for i in batch if rows[i].owner in mine]

            def answer(part: Sequence[PromptRow], length: int = length) -> Chunk:
                try:
                    answers = generator.generate(part, length, wanted)
                except (ValueError, TypeError) as error:
                    refusal = Unanswerable("bad_generation_parameter", str(error)).response()
                    return [(row.owner, refusal) for row in part]
                pairs = zip(part, answers, strict=True)
                return [(row.owner, _generated(drafts[row.owner], a, notes)) for row, a in pairs]

            span = length + wanted.max_new_tokens
            self._show(number, len(plan), len(todo), len(batch) * span)
            yield from _within_memory(todo, span, self._generation_room, answer, _ungenerated)

    def _show(self, number: int, count: int, rows: int, tokens: int) -> None:
        self._outlook = None
        self._usage = replace(
            self._usage, phase=f"batch {number + 1:,}/{count:,}, {tokens:,} tokens", limit=rows or None
        )
        if rows:
            _log.debug("batch", extra={"fields": {"n": rows, "tokens": tokens}})


def _within_memory(
    rows: Sequence[_In],
    length: int,
    room: Room,
    answer: Callable[[Sequence[_In]], _Out],
    give_up: Callable[[_In], _Out],
) -> Iterator[_Out]:
    """Answer a batch, in as many parts as memory demands; a row that does not fit alone is given up."""
    waiting = room.split(rows, length)
    while waiting:
        part = waiting.pop(0)
        answers = unless_out_of_memory(partial(answer, part), proven=True)
        if answers is not None:
            yield answers
            continue
        release_memory()
        fields = {"rows": len(part), "tokens": length}
        _log.warning("out of memory", extra={"fields": fields})
        if len(part) == 1:
            yield give_up(part[0])
        else:
            room.ran_out(len(part), length)
            waiting = room.split([row for rest in (part, *waiting) for row in rest], length)


def _kind(wanted: Generation) -> str:
    """The same for all that can be continued in one batch."""
    return canonical_json(asdict(wanted))


def _unscored(row: Row) -> list[Score]:
    return [Score(member, 0.0, False, _TOO_BIG) for member in row.members]


def _ungenerated(row: PromptRow) -> Chunk:
    return [(row.owner, Response(error=_TOO_BIG))]


def _scored(draft: Response, score: Score) -> Response:
    if score.error:
        return replace(draft, error=score.error)
    return replace(draft, logprob=score.logprob, is_greedy=score.is_greedy)


def _rolled(rows: Sequence[Row], scores: Mapping[int, Score]) -> Response:
    n_tokens = sum(len(row.members[0].continuation) for row in rows)
    error = next((s.error for s in scores.values() if s.error), None)
    if error:
        return Response(error=error)
    return Response(logprob=sum(scores[i].logprob for i in range(len(rows))), completion_tokens=n_tokens)


def _generated(draft: Response, answer: Answer, notes: Mapping[str, Any]) -> Response:
    if answer.error:
        return replace(draft, error=answer.error)
    return replace(
        draft,
        text=answer.text,
        reasoning=answer.reasoning or None,
        reasoning_tokens=answer.n_reasoning,
        finish_reason=answer.finish_reason,
        completion_tokens=answer.n_tokens,
        notes={**draft.notes, **notes},
    )
