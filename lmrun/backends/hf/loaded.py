"""A model in memory, and requests made ready for it."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lmrun.backends.generation import Generation, normalise
from lmrun.backends.hf.generating import Generator, PromptRow
from lmrun.backends.hf.options import HfOptions
from lmrun.backends.hf.plan import CPU_BATCH_TOKENS, CPU_ROW_MULTIPLE, Member, Row, Shape, gpu_batch_tokens
from lmrun.backends.hf.reasoning import ReasoningDecoder
from lmrun.backends.hf.scoring import Scorer, keeps_logits
from lmrun.backends.hf.tree.generator import TreeGenerator
from lmrun.backends.hf.tree.scorer import TreeScorer
from lmrun.backends.hf.tree.shared import SharingModel, obstacle
from lmrun.backends.reasoning import Delimiters
from lmrun.backends.tokenize import Encoder, Tokens, TooLong, cut_pair, cut_prompt
from lmrun.requests import Request, Response, content_key

_log = logging.getLogger(__name__)

GENERATION_BATCHES = 8
"""Prompts are cheap beside the steps that follow, and a step costs little more for many rows than for one."""
_MOST_PACK_TOKENS = 4096
"""What a token may look at takes memory by the square of this where it is a mask."""


@dataclass(slots=True)
class Forward:
    """A model's forward pass, counted."""

    model: Any
    tokens: int = 0
    """That went in so far, padding included."""

    def __call__(self, *, input_ids: Any, **inputs: Any) -> Any:
        """An output with ``logits``."""
        self.tokens += input_ids.numel()
        return self.model(input_ids=input_ids, **inputs)


@dataclass(frozen=True, slots=True)
class Shared:
    """What works with shared prefixes."""

    model: SharingModel
    scorer: TreeScorer
    generator: TreeGenerator

    @classmethod
    def of(cls, loaded: Loaded) -> Shared:
        """Of a model without obstacle."""
        shape, plain = loaded.shape, loaded.scorer()
        model = SharingModel.of(loaded.model, shape.row_multiple)
        pack_tokens = min(shape.batch_tokens, _MOST_PACK_TOKENS)
        scorer = TreeScorer(model, plain, loaded.max_length, pack_tokens)
        slot_tokens = shape.batch_tokens * GENERATION_BATCHES
        generator = loaded.generator()
        return cls(
            model,
            scorer,
            TreeGenerator(model, generator, plain, loaded.max_length, pack_tokens, slot_tokens),
        )


@dataclass(slots=True)
class Loaded:
    """Model and tokenizer. ``forward`` and ``generate`` are the model's, named here so that a test can wrap them."""

    model: Any
    encoder: Encoder
    max_length: int
    """Longest input in tokens."""
    shape: Shape
    forward: Callable[..., Any]
    generate: Callable[..., Any]
    reasoning: ReasoningDecoder | None
    too_long: TooLong
    alone: Forward
    """Counts what is computed without shared prefixes."""
    shared: Shared | None = None
    """Works with shared prefixes; None where the model or the manifest rules it out."""
    unshared: str | None = None
    """Why there is none."""

    @classmethod
    def of(
        cls, model: Any, encoder: Encoder, max_length: int, options: HfOptions, delimiters: Delimiters | None
    ) -> Loaded:
        """A model just loaded."""
        reasoning = ReasoningDecoder.of(encoder.tokenizer, delimiters) if delimiters else None
        shape = _shape(model, options)
        forward = Forward(model)
        loaded = cls(model, encoder, max_length, shape, forward, model.generate, reasoning, options.too_long, forward)
        loaded.unshared = options.unshared or obstacle(model)
        if not loaded.unshared:
            loaded.shared = Shared.of(loaded)
        return loaded

    def unshare(self, reason: str) -> None:
        """Score without shared prefixes from now on."""
        _log.warning(f"prefix sharing is off: {reason}", extra={"notice": True})
        self.shared, self.unshared = None, reason

    def scorer(self) -> Scorer:
        """What scores batches."""
        return Scorer(self.forward, self.model.device, keeps_logits(self.model), self.shape.row_multiple)

    def generator(self) -> Generator:
        """What continues batches of prompts."""
        tokenizer, multiple = self.encoder.tokenizer, self.shape.row_multiple
        return Generator(self.model, tokenizer, self.generate, self.model.device, multiple, self.reasoning)

    def facts(self) -> dict[str, Any]:
        """What is known now that the model is in memory."""
        import torch

        device = self.model.device
        named = {"device_name": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
        shared = self.shared
        return {
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "max_length": self.max_length,
            "batch_tokens": self.shape.batch_tokens,
            "attn_implementation": self.model.config._attn_implementation,
            "threads": torch.get_num_threads(),
            "prefix_sharing": f"off: {self.unshared}" if self.unshared else "on",
            "forwarded_tokens": shared.model.forwarded if shared else self.alone.tokens,
            "probed_tokens": shared.model.probed if shared else None,
            "distinct_tokens": shared.scorer.distinct + shared.generator.distinct if shared else None,
            "decoded_tokens": shared.model.decoded if shared else None,
            **named,
        }

    # -- requests ------------------------------------------------------------------------------------------------------

    def pair(self, position: int, request: Request) -> tuple[Row, Response]:
        """The row that scores a continuation, and the response but for the score.

        Raises:
            Unanswerable: no continuation, or one that is too long.
        """
        prompt = self.encoder.render(request.context)
        pair = self.encoder.pair(prompt.text, request.continuation)
        cut = cut_pair(pair.context, pair.continuation, self.max_length, self.too_long)
        row = Row(_array(cut.inputs), (Member(position, 0, _array(pair.continuation)),))
        n_scored = len(pair.continuation)
        return row, Response(
            prompt_tokens=len(cut.inputs) + 1 - n_scored,
            completion_tokens=n_scored,
            dropped_tokens=cut.dropped,
            notes={**prompt.notes, **({"join": pair.join} if pair.join != "joint" else {})},
        )

    def windows(self, position: int, request: Request) -> list[Row]:
        """The rows that score a long text together; none for an empty one."""
        return [
            Row(_array([*window.context, *window.predicted][:-1]), (Member(position, i, _array(window.predicted)),))
            for i, window in enumerate(self.encoder.windows(request.continuation, self.max_length))
        ]

    def prompt(self, position: int, request: Request) -> tuple[Generation, PromptRow, Response]:
        """The row that continues a prompt, how, and the response but for the answer.

        Raises:
            Unanswerable: a bad parameter, or no room for the prompt.
        """
        wanted = normalise(request.generation)
        prompt = self.encoder.render(request.context)
        tokens = self.encoder.prompt(prompt.text)
        cut = cut_prompt(tokens, self.max_length, wanted.max_new_tokens, self.too_long)
        opened = self.reasoning is not None and self.reasoning.delimiters.opened_by(request.context, prompt.text)
        row = PromptRow(position, _array(cut.inputs), content_key("", request), opened)
        return wanted, row, Response(prompt_tokens=len(cut.inputs), dropped_tokens=cut.dropped, notes=prompt.notes)


def _array(tokens: Tokens) -> array[int]:
    # Four bytes per token instead of a Python integer each: all requests of a job are encoded before the first batch.
    return array("i", tokens)


def _shape(model: Any, options: HfOptions) -> Shape:
    import torch

    device = model.device
    on_cpu = device.type == "cpu"
    if options.batch_tokens != "auto":
        tokens = options.batch_tokens
    elif device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        tokens = gpu_batch_tokens(total, model.get_memory_footprint(), _bytes_per_token(model))
    else:
        tokens = CPU_BATCH_TOKENS
    return Shape(tokens, one_length=on_cpu, row_multiple=CPU_ROW_MULTIPLE if on_cpu else 1)


def _bytes_per_token(model: Any) -> int:
    """Memory that one token of a batch takes beside the weights, if all its logits are computed."""
    text = model.config.get_text_config()
    size = model.dtype.itemsize
    width = text.hidden_size
    inner = getattr(text, "intermediate_size", None) or 4 * width
    logits = text.vocab_size * size
    return int(logits + (8 * width + 4 * inner) * size)
