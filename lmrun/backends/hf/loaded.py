"""A model in memory, and requests made ready for it."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lmrun.backends.drafts import draft_pair, draft_prompt
from lmrun.backends.generation import Generation, normalise
from lmrun.backends.hf.generating import Generator, PromptRow
from lmrun.backends.hf.loading import compiled, input_device, not_compiled
from lmrun.backends.hf.options import HfOptions
from lmrun.backends.hf.plan import (
    CPU_BATCH_TOKENS,
    CPU_ROW_MULTIPLE,
    GENERATION_STEP,
    SCORING_STEP,
    Member,
    Row,
    Shape,
    gpu_batch_tokens,
    padded_length,
)
from lmrun.backends.hf.reasoning import ReasoningDecoder
from lmrun.backends.hf.scoring import Scorer, keeps_logits
from lmrun.backends.hf.tree.generator import TreeGenerator
from lmrun.backends.hf.tree.scorer import TreeScorer
from lmrun.backends.hf.tree.shared import SharingModel, obstacle
from lmrun.backends.hf.tree.stems import Stems
from lmrun.backends.reasoning import Delimiters
from lmrun.backends.tokenize import Encoder, Tokens, TooLong
from lmrun.requests import Request, Response, content_key

_log = logging.getLogger(__name__)

GENERATION_BATCHES = 8
"""Prompts are cheap beside the steps that follow, and a step costs little more for many rows than for one."""
_STEM_BATCHES = 4
"""Keys and values of so many batches are kept of what prompts begin with; they take less than what a batch takes."""
_CPU_CHUNK, _GPU_CHUNK = 128, 1024
"""Of what prompts begin with. On a GPU a pass over few tokens takes as long as one over many."""
_MOST_PACK_TOKENS = 4096
"""What a token may look at takes memory by the square of this where it is a mask."""


@dataclass(slots=True)
class Forward:
    """A model's forward pass, counted."""

    model: Any
    tokens: int = 0
    """That went in so far, padding included."""

    def __call__(self, **inputs: Any) -> Any:
        """An output with ``logits``."""
        return self.through(self.model, **inputs)

    def through(self, module: Any, **inputs: Any) -> Any:
        """What a part of the model makes of its inputs."""
        self.tokens += inputs["input_ids" if "input_ids" in inputs else "labels"].numel()
        return module(**inputs)


@dataclass(frozen=True, slots=True)
class Shared:
    """What works with shared prefixes."""

    model: SharingModel
    stems: Stems
    scorer: TreeScorer
    generator: TreeGenerator

    @classmethod
    def of(cls, loaded: Loaded) -> Shared:
        """Of a model without obstacle."""
        shape, plain = loaded.shape, loaded.scorer()
        model = SharingModel.of(loaded.model, shape.row_multiple)
        pack_tokens = min(shape.batch_tokens, _MOST_PACK_TOKENS)
        on_cpu = loaded.device.type == "cpu"
        chunk = _CPU_CHUNK if on_cpu else _GPU_CHUNK
        stems = Stems(model, pack_tokens, chunk, shape.batch_tokens * _STEM_BATCHES)
        scorer = TreeScorer(model, plain, stems, loaded.max_length, pack_tokens, _CPU_CHUNK if on_cpu else None)
        slot_tokens = shape.batch_tokens * GENERATION_BATCHES
        generator = TreeGenerator(model, loaded.generator(), plain, stems, loaded.max_length, pack_tokens, slot_tokens)
        return cls(model, stems, scorer, generator)

    @property
    def distinct(self) -> int:
        """Distinct tokens of all that was asked so far."""
        return self.stems.distinct + self.scorer.distinct + self.generator.distinct


@dataclass(slots=True)
class Loaded:
    """Model and tokenizer. ``forward`` and ``generate`` are the model's, named here so that a test can wrap them."""

    model: Any
    device: Any
    """Where inputs go."""
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
        device = input_device(model)
        shape = _shape(model, device, options)
        # Generation is left as it is: a cache that grows would be compiled again and again.
        forward = Forward(compiled(model) if options.compile else model)
        calls = (forward, model.generate)
        loaded = cls(model, device, encoder, max_length, shape, *calls, reasoning, options.too_long, forward)
        loaded.unshared = options.unshared or obstacle(model)
        if not loaded.unshared:
            loaded.shared = Shared.of(loaded)
        return loaded

    def unshare(self, reason: str) -> None:
        """Score without shared prefixes from now on."""
        _log.warning(f"prefix sharing is off: {reason}", extra={"notice": True})
        self.shared, self.unshared = None, reason

    def try_out(self) -> None:
        """Score something small, so that a forward pass that cannot be compiled is known before the first batch."""
        row = Row(as_array([0] * SCORING_STEP), (Member(0, 0, as_array([0])),))
        try:
            # Two rows: code for a single one would serve no other batch.
            self.scorer().score([row, row], SCORING_STEP)
        except Exception as error:  # boundary: compilers raise anything
            raise not_compiled(error) from error

    def scorer(self) -> Scorer:
        """What scores batches."""
        return Scorer(self.forward, self.device, keeps_logits(self.model), self.shape.row_multiple)

    def generator(self) -> Generator:
        """What continues batches of prompts."""
        tokenizer, multiple = self.encoder.tokenizer, self.shape.row_multiple
        return Generator(self.model, tokenizer, self.generate, self.device, multiple, self.reasoning)

    def facts(self) -> dict[str, Any]:
        """What is known now that the model is in memory."""
        import torch

        device = self.device
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
            "distinct_tokens": shared.distinct if shared else None,
            "decoded_tokens": shared.model.decoded if shared else None,
            **named,
        }

    # -- requests ------------------------------------------------------------------------------------------------------

    def pair(self, request: Request) -> tuple[Row, Response]:
        """The row that scores a continuation, of nobody yet, and the response but for the score.

        Raises:
            Unanswerable: no continuation, or one that is too long.
        """
        draft = draft_pair(self.encoder, request, self.max_length, self.too_long)
        return Row(as_array(draft.inputs), (Member(0, 0, as_array(draft.continuation)),)), draft.response

    def windows(self, request: Request) -> list[Row]:
        """The rows that score a long text together, of nobody yet; none for an empty one."""
        return [
            Row(as_array([*window.context, *window.predicted][:-1]), (Member(0, i, as_array(window.predicted)),))
            for i, window in enumerate(self.encoder.windows(request.continuation, self.max_length))
        ]

    def longest_prompt(self, max_new_tokens: int) -> int:
        """Tokens of a prompt, at most, that is continued with so many."""
        return self.max_length - max_new_tokens

    def padded_prompt(self, length: int, most: int) -> int:
        """What a prompt of ``length`` tokens is padded to, never over ``most``.

        A model with a state, such as Mamba or RWKV, may read padding into it whatever the mask says: it gets none.
        Others get one position at least: transformers takes another path for a batch that needs no mask.
        """
        if getattr(self.model, "_is_stateful", False):
            return length
        return padded_length(min(length + 1, most), most, GENERATION_STEP)

    def prompt(self, request: Request) -> tuple[Generation, PromptRow, Response]:
        """The row that continues a prompt, of nobody yet, how, and the response but for the answer.

        Raises:
            Unanswerable: a bad parameter, or no room for the prompt.
        """
        wanted = normalise(request.generation)
        reserved = self.max_length - self.longest_prompt(wanted.max_new_tokens)
        draft = draft_prompt(self.encoder, request, self.max_length, reserved, self.too_long)
        opened = self.reasoning is not None and self.reasoning.delimiters.opened_by(request.context, draft.text)
        row = PromptRow(0, as_array(draft.inputs), content_key("", request), opened)
        return wanted, row, draft.response


def as_array(tokens: Tokens) -> array[int]:
    """Token ids, packed."""
    # Four bytes per token instead of a Python integer each: all requests of a job are encoded before the first batch.
    return array("i", tokens)


def _shape(model: Any, device: Any, options: HfOptions) -> Shape:
    import torch

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
