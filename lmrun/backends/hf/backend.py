"""The ``hf`` backend: identity, loading, and the way from requests over batches to responses."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any, TypeVar

from lmrun.backends.base import Chunk, ModelIdentity, ModelSpec, Usage
from lmrun.backends.generation import Generation
from lmrun.backends.hf.generating import Answer, PromptRow
from lmrun.backends.hf.identify import identify, read_config, resolve_dtype, stated_max_length
from lmrun.backends.hf.loaded import GENERATION_BATCHES, Loaded
from lmrun.backends.hf.loading import is_out_of_memory, load_model, load_tokenizer, quiet, release_memory
from lmrun.backends.hf.options import HfOptions
from lmrun.backends.hf.plan import GENERATION_STEP, Room, Row, batches, merge_rows, padded_length, rounds
from lmrun.backends.hf.scoring import Score
from lmrun.backends.hf.tree.generator import Asked
from lmrun.backends.hf.tree.shared import Unshareable
from lmrun.backends.source import Source, locate
from lmrun.backends.templates import delimiters, template_file, template_name
from lmrun.backends.tokenize import Encoder, Unanswerable
from lmrun.errors import BackendError
from lmrun.requests import Request, Response, ResponseError, canonical_json

_log = logging.getLogger(__name__)
_In = TypeVar("_In")
_Out = TypeVar("_Out")

_ROUND_BATCHES = 8
"""Batches of windows after which long texts are finished and kept."""
_TOO_BIG = ResponseError("out_of_memory", "this request alone does not fit into memory")


class HfBackend:
    """A causal language model of transformers."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._options = HfOptions.of(spec)
        self._loaded: Loaded | None = None
        self._scoring_room = Room()
        self._generation_room = Room()
        self._usage = Usage()

    # -- who it is -----------------------------------------------------------------------------------------------------

    def identify(self) -> ModelIdentity:
        """Say who the model is from its files. Raises :class:`~lmrun.errors.BackendError`."""
        return identify(self._source, self._tokenizer_source, self._options)

    @cached_property
    def _source(self) -> Source:
        return locate(self._spec.model, self._options.revision, self._spec.offline)

    @cached_property
    def _tokenizer_source(self) -> Source:
        return locate(self._options.tokenizer, None, self._spec.offline) if self._options.tokenizer else self._source

    # -- loading -------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Load tokenizer and model. Raises :class:`~lmrun.errors.BackendError`."""
        if self._loaded:
            return
        config = read_config(self._source)
        encoder = self._encoder()
        with quiet():
            model = load_model(self._source, self._options, resolve_dtype(self._options.dtype, config))
        stated = stated_max_length(model.config.to_dict(), self._tokenizer_source.folder)
        found = delimiters(self._tokenizer_source.folder, self._options.reasoning, self._options.chat_template)
        self._loaded = Loaded.of(model, encoder, self._options.max_length or stated, self._options, found)
        self._usage = Usage(phase="loaded", device=str(model.device), facts=self._loaded.facts())

    def _encoder(self) -> Encoder:
        with quiet():
            tokenizer = load_tokenizer(self._tokenizer_source, self._options)
        template = template_file(self._options.chat_template)
        if template is not None:
            tokenizer.chat_template = template
        name = template_name(self._options.chat_template)
        return Encoder(tokenizer, add_bos_token=self._options.add_bos_token, template_name=name)

    def counter(self) -> Callable[[Request], int]:
        """Counts prompt tokens with the tokenizer. Raises :class:`~lmrun.errors.BackendError`."""
        return self._encoder().count

    def close(self) -> None:
        """Free the model and its memory."""
        if self._loaded:
            self._loaded = None
            release_memory()

    def usage(self) -> Usage:
        """What is being computed, and the facts of the loaded model."""
        return self._usage

    # -- answering -----------------------------------------------------------------------------------------------------

    def run(self, requests: Sequence[Request], answered: Collection[int] = frozenset()) -> Iterator[Chunk]:
        """Answer requests of one kind, a batch at a time.

        Raises:
            BackendError: the model is not loaded, or messages are to be put into a chat template that it has not got.
        """
        loaded = self._loaded
        if loaded is None:
            raise BackendError(f'model "{self._spec.name}" is not loaded', hint="call load() first")
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
        rows: list[Row] = []
        drafts: dict[int, Response] = {}
        refused: dict[int, Response] = {}
        for i, request in enumerate(requests):
            try:
                row, drafts[i] = loaded.pair(i, request)
            except Unanswerable as error:
                refused[i] = error.response()
            else:
                rows.append(row)
        yield from _without(answered, refused)
        for scores in self._score(loaded, [rows], answered):
            yield [(s.member.owner, _scored(drafts[s.member.owner], s)) for s in scores]

    def _run_rolling(self, loaded: Loaded, requests: Sequence[Request], answered: frozenset[int]) -> Iterator[Chunk]:
        texts: list[list[Row]] = []
        ready: dict[int, Response] = {}
        for i, request in enumerate(requests):
            try:
                texts.append(loaded.windows(i, request))
            except Unanswerable as error:
                texts.append([])
                ready[i] = error.response()
            else:
                if not texts[-1]:
                    ready[i] = Response(logprob=0.0)
        yield from _without(answered, ready)
        parts: defaultdict[int, dict[int, Score]] = defaultdict(dict)
        together = rounds(texts, loaded.shape.batch_tokens * _ROUND_BATCHES)
        for scores in self._score(loaded, together, answered):
            for score in scores:
                parts[score.member.owner][score.member.part] = score
            finished = [i for i in {s.member.owner: None for s in scores} if len(parts[i]) == len(texts[i])]
            if finished:
                yield [(i, _rolled(texts[i], parts.pop(i))) for i in finished]

    def _run_generation(self, loaded: Loaded, requests: Sequence[Request], answered: frozenset[int]) -> Iterator[Chunk]:
        refused: dict[int, Response] = {}
        drafts: dict[int, Response] = {}
        asked: list[Asked] = []
        for i, request in enumerate(requests):
            try:
                wanted, row, drafts[i] = loaded.prompt(i, request)
            except Unanswerable as error:
                refused[i] = error.response()
            else:
                asked.append((row, wanted))
        yield from _without(answered, refused)
        done: set[int] = set()
        for chunk in self._generate_shared(loaded, asked, drafts, answered):
            done.update(i for i, _ in chunk)
            yield chunk
        alike: defaultdict[str, list[Asked]] = defaultdict(list)
        for row, wanted in asked:
            if row.owner not in done:
                alike[canonical_json(asdict(wanted))].append((row, wanted))
        for name in sorted(alike):
            rows = sorted((row for row, _ in alike[name]), key=lambda row: (-len(row.inputs), row.inputs, row.owner))
            yield from self._generate(loaded, alike[name][0][1], rows, drafts, answered)

    def _generate_shared(
        self, loaded: Loaded, asked: Sequence[Asked], drafts: Mapping[int, Response], answered: frozenset[int]
    ) -> Iterator[Chunk]:
        """Answers to those prompts that can be continued with a shared prefix, until that turns out to be wrong."""
        if not loaded.shared:
            return
        generator = loaded.shared.generator
        together = [one for one in asked if generator.can(one[1])]
        try:
            for answers in generator.answers(together, answered):
                self._usage = replace(self._usage, phase=generator.phase, facts=loaded.facts())
                yield [(row.owner, _generated(drafts[row.owner], answer, notes)) for row, answer, notes in answers]
        except Unshareable as reason:
            loaded.unshare(str(reason))

    # -- batches -------------------------------------------------------------------------------------------------------

    def _score(
        self, loaded: Loaded, rounds: Iterable[Sequence[Row]], answered: frozenset[int]
    ) -> Iterator[list[Score]]:
        """Scores of rows: with shared prefixes all together if this model can, else round by round."""
        rounds = list(rounds)
        done: set[tuple[int, int]] = set()
        if loaded.shared:
            try:
                for scores in loaded.shared.scorer.scores(
                    merge_rows([row for rows in rounds for row in rows]), answered
                ):
                    done.update((score.member.owner, score.member.part) for score in scores)
                    self._usage = replace(self._usage, phase=loaded.shared.scorer.phase, facts=loaded.facts())
                    yield scores
                return
            except Unshareable as reason:
                loaded.unshare(str(reason))
        for rows in rounds:
            yield from self._score_alone(loaded, merge_rows([row.without((), done) for row in rows]), answered)

    def _score_alone(self, loaded: Loaded, rows: Sequence[Row], answered: frozenset[int]) -> Iterator[list[Score]]:
        """Scores batch by batch; what belongs to answered requests is left out, the batches stay the same."""
        rows = [row for row in rows if row.members]
        scorer = loaded.scorer()
        lengths = [padded_length(len(row.inputs), loaded.max_length) for row in rows]
        plan = list(batches(lengths, loaded.shape))
        for number, batch in enumerate(plan):
            length = lengths[batch[0]]
            todo = [kept for i in batch if (kept := rows[i].without(answered)).members]

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
        most = loaded.max_length - wanted.max_new_tokens
        # One position of padding at least: transformers takes another path for a batch that needs no mask.
        lengths = [padded_length(min(len(row.inputs) + 1, most), most, GENERATION_STEP) for row in rows]
        shape = replace(loaded.shape, batch_tokens=loaded.shape.batch_tokens * GENERATION_BATCHES)
        unpadded = [len(row.inputs) == most for row in rows]
        plan = list(batches(lengths, shape, unpadded.__getitem__, wanted.max_new_tokens, shape.row_multiple))
        notes = {"sampling": generator.sampling(wanted.options)} if wanted.sample else {}
        for number, batch in enumerate(plan):
            length = lengths[batch[0]]
            todo = [rows[i] for i in batch if rows[i].owner not in answered]

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
        answers = _unless_out_of_memory(answer, part)
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


def _unless_out_of_memory(answer: Callable[[Sequence[_In]], _Out], rows: Sequence[_In]) -> _Out | None:
    # A function of its own: the exception holds the tensors of the failed batch until this frame is left.
    try:
        return answer(rows)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def _without(answered: frozenset[int], ready: Mapping[int, Response]) -> Iterator[Chunk]:
    chunk = [(i, response) for i, response in ready.items() if i not in answered]
    if chunk:
        yield chunk


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
