"""Continuing prompts: greedy or sampled, each row as if it were alone."""

from __future__ import annotations

import hashlib
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from lmrun.backends.generation import ONLY_SAMPLED, Generation, cut_at_stops
from lmrun.backends.hf.loading import quiet
from lmrun.backends.hf.reasoning import ReasoningDecoder, ReasoningWatch
from lmrun.backends.hf.scoring import NOT_A_NUMBER
from lmrun.requests import FinishReason, ResponseError

_DEFAULTS: Mapping[str, Any] = {"temperature": 1.0, "top_k": 50, "top_p": 1.0}
"""Of transformers, where neither the task nor the model's generation_config.json says anything."""


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompt to be continued."""

    owner: int
    """Position of its request."""
    inputs: array[int]
    key: str
    """Content of the request, from which its random numbers come."""
    reasoning: bool = False
    """The prompt has begun the reasoning."""


class Answer(NamedTuple):
    """What a row was continued with."""

    text: str
    finish_reason: FinishReason
    n_tokens: int
    reasoning: str = ""
    n_reasoning: int = 0
    """Tokens of the reasoning, of ``n_tokens``."""
    error: ResponseError | None = None


@dataclass(frozen=True, slots=True)
class Generator:
    """Generates with one model."""

    model: Any
    tokenizer: Any
    forward: Callable[..., Any]
    """``model.generate``."""
    device: Any
    row_multiple: int
    reasoning: ReasoningDecoder | None = None
    """Splits reasoning off; None where all of the output is the answer."""

    def generate(self, rows: Sequence[PromptRow], length: int, wanted: Generation) -> list[Answer]:
        """Continue every row, padded on the left to ``length``.

        Raises:
            ValueError, TypeError: transformers refuses a parameter.
        """
        import torch

        copies = -(-len(rows) // self.row_multiple) * self.row_multiple
        inputs = torch.full((copies, length), self._pad(), dtype=torch.long)
        mask = torch.zeros((copies, length), dtype=torch.long)
        for i in range(copies):
            row = rows[i % len(rows)].inputs
            inputs[i, length - len(row) :] = torch.tensor(row, dtype=torch.long)
            mask[i, length - len(row) :] = 1
        ends = sorted(self.end_tokens())
        beams = self._beams(wanted)
        stops = Stops([self.watch(rows[i % len(rows)], wanted) for i in range(copies)])
        faults = Faults()
        with torch.inference_mode(), quiet():
            out = self.forward(
                input_ids=inputs.to(self.device),
                attention_mask=mask.to(self.device),
                max_new_tokens=wanted.max_new_tokens,
                do_sample=False,
                use_cache=True,
                pad_token_id=self._pad(),
                eos_token_id=ends or None,
                # The rows of beams change places; their answers are cut at the stops afterwards.
                stopping_criteria=[stops] if wanted.until and beams == 1 else [],
                logits_processor=[faults, *(self._sampler(rows, copies, length, wanted) if wanted.sample else [])],
                **{k: v for k, v in wanted.options.items() if k not in ONLY_SAMPLED},
            )
        generated: list[list[int]] = out[: len(rows), length:].tolist()
        broken = faults.rows(copies)
        return [
            Answer("", "stop", 0, error=NOT_A_NUMBER)
            if broken[i]
            else self.answer(rows[i], tokens, stops.found[i], wanted)
            for i, tokens in enumerate(generated)
        ]

    def _beams(self, wanted: Generation) -> int:
        beams = wanted.options.get("num_beams") or self.model.generation_config.num_beams or 1
        if beams > 1 and wanted.sample:
            raise ValueError("sampling with num_beams above 1 is not supported")
        if (wanted.options.get("num_return_sequences") or 1) > 1:
            raise ValueError("num_return_sequences must be 1: a task asks for several answers with `repeats`")
        return int(beams)

    def end_tokens(self) -> set[int]:
        """Tokens that end an answer, by the model's generation config and by its tokenizer."""
        stated = self.model.generation_config.eos_token_id
        ends = set() if stated is None else {stated} if isinstance(stated, int) else set(stated)
        return ends if self.tokenizer.eos_token_id is None else ends | {self.tokenizer.eos_token_id}

    def sampling(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Sampling parameters in force: of the task, else of the model's generation config, else the usual ones."""
        values: dict[str, Any] = {}
        for name in ONLY_SAMPLED:
            value = options.get(name)
            if value is None:
                value = getattr(self.model.generation_config, name, None)
            if value is None:
                value = _DEFAULTS.get(name)
            if value is not None:
                values[name] = value
        return values

    def _sampler(self, rows: Sequence[PromptRow], copies: int, length: int, wanted: Generation) -> list[Any]:
        keys = [rows[i % len(rows)].key for i in range(copies)]
        return [*warpers(self.sampling(wanted.options), self.device), Draw(keys, length)]

    def watch(self, row: PromptRow, wanted: Generation) -> Watch:
        """What sees when a row is done."""
        if self.reasoning is None:
            return StopWatch(self.tokenizer.decode, wanted.until)
        return ReasoningWatch(self.tokenizer.decode, self.reasoning.delimiters, wanted.until, opened=row.reasoning)

    def answer(self, row: PromptRow, tokens: list[int], stopped: int | None, wanted: Generation) -> Answer:
        """The answer of a row whose watch saw that it is done after ``stopped`` of its tokens."""
        ends = self.end_tokens()
        tokens = tokens[:stopped]
        end = next((i + 1 for i, token in enumerate(tokens) if token in ends), None)
        tokens = tokens[:end]
        ended = end is not None or stopped is not None
        if self.reasoning is None:
            text, cut = cut_at_stops(self.tokenizer.decode(tokens, skip_special_tokens=True), wanted.until)
            return Answer(text, "stop" if cut or ended else "length", len(tokens))
        found, n = self.reasoning.split(tokens, wanted.until, opened=row.reasoning)
        finished = found.closed and (found.stopped or ended)
        return Answer(found.text, "stop" if finished else "length", len(tokens), found.reasoning, n)

    def _pad(self) -> int:
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        return int(next(token for token in known if token is not None))


class Faults:
    """Logits processor that changes nothing and remembers the rows whose logits were no numbers."""

    def __init__(self) -> None:
        self._seen: Any = None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Look at one step. Nothing is read off the device before the end."""
        bad = scores.isnan().any(dim=-1)
        self._seen = bad if self._seen is None else self._seen | bad
        return scores

    def rows(self, count: int) -> list[bool]:
        """Which of ``count`` prompts had such a step in any of its beams."""
        if self._seen is None:
            return [False] * count
        found: list[bool] = self._seen.view(count, -1).any(dim=-1).tolist()
        return found


class Watch(Protocol):
    """Sees when a row is done."""

    def feed(self, token: int) -> bool:
        """Take the next token; says whether the row is done."""
        ...


class StopWatch:
    """Sees when an answer holds a stop text, special tokens included.

    Only the last tokens are decoded: as many as the longest stop has bytes (a token has one at least), and two more,
    because some tokenizers drop the space before the first.
    """

    def __init__(self, decode: Callable[[list[int]], str], stops: Sequence[str]) -> None:
        self._decode = decode
        self._stops = stops
        longest = max((len(stop.encode("utf-8", "surrogatepass")) for stop in stops), default=0)
        self._tail: deque[int] = deque(maxlen=longest + 2)

    def feed(self, token: int) -> bool:
        """Take the next token; says whether a stop is there."""
        if not self._stops:
            return False
        self._tail.append(token)
        text = self._decode(list(self._tail))
        return any(stop in text for stop in self._stops)


class Stops:
    """Stopping criterion of transformers: each row by its watch."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self.found: list[int | None] = [None] * len(watches)
        """By row: how many tokens had been generated when it was done."""
        self._watches = watches
        self._steps = 0

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Which rows are done, as transformers asks after every token."""
        import torch

        self._steps += 1
        for i, token in enumerate(input_ids[:, -1].tolist()):
            if self.found[i] is None and self._watches[i].feed(token):
                self.found[i] = self._steps
        return torch.tensor([found is not None for found in self.found], device=input_ids.device)


class Draw:
    """Logits processor that draws the next token of each row and leaves it as the only one.

    The random number of a row comes from its request and the step alone, so that an answer does not depend on what
    else is in the batch, nor on where a run was interrupted. Inversion of the distribution function, in float64.
    """

    def __init__(self, keys: Sequence[str], start: int) -> None:
        self._keys = keys
        self._start = start

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Scores with all but the drawn token at minus infinity."""
        import torch

        step = input_ids.shape[1] - self._start
        drawn = draw(scores, [uniform(key, step) for key in self._keys])
        return torch.full_like(scores, float("-inf")).scatter(1, drawn[:, None], 0.0)


def draw(scores: Any, points: Sequence[float]) -> Any:
    """The token of each row of ``scores`` (logits) at a point of [0, 1) of its distribution function."""
    import torch

    exact = scores.cpu().double() if scores.device.type == "mps" else scores.double()
    below = exact.softmax(dim=-1).cumsum(dim=-1)
    at = torch.tensor(points, dtype=below.dtype, device=below.device)[:, None]
    drawn = torch.searchsorted(below, at * below[:, -1:], right=True).clamp(max=scores.shape[1] - 1)
    return drawn[:, 0].to(scores.device)


def uniform(key: str, step: int) -> float:
    """A number in [0, 1) that depends on ``key`` and ``step`` alone."""
    digest = hashlib.blake2b(f"{key}:{step}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


def warpers(values: Mapping[str, Any], device: Any) -> list[Any]:
    """What transformers applies to the scores of a sampled token, in its order."""
    from transformers.generation import logits_process as warp

    steps: list[Any] = []
    if values.get("temperature", 1.0) != 1.0:
        steps.append(warp.TemperatureLogitsWarper(float(values["temperature"])))
    if values.get("top_k"):
        steps.append(warp.TopKLogitsWarper(int(values["top_k"])))
    if values.get("top_p", 1.0) < 1.0:
        steps.append(warp.TopPLogitsWarper(float(values["top_p"])))
    if values.get("min_p") is not None:
        steps.append(warp.MinPLogitsWarper(float(values["min_p"])))
    if values.get("typical_p") is not None and values["typical_p"] < 1.0:
        steps.append(warp.TypicalLogitsWarper(float(values["typical_p"])))
    if values.get("epsilon_cutoff"):
        steps.append(warp.EpsilonLogitsWarper(float(values["epsilon_cutoff"])))
    if values.get("eta_cutoff"):
        steps.append(warp.EtaLogitsWarper(float(values["eta_cutoff"]), device=device))
    return steps
