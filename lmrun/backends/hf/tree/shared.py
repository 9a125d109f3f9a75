"""A causal model made to compute packs: its own layers, with another attention, and its own head where it is read."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from lmrun.backends.hf.loading import is_out_of_memory
from lmrun.backends.hf.tree.attention import NAME, Frame, framed, tree_attention
from lmrun.backends.hf.tree.masked import masked_pass
from lmrun.backends.hf.tree.pack import Pack
from lmrun.backends.hf.tree.packed import PackFrame, Path
from lmrun.backends.hf.tree.slots import Slots, Tap

_T = TypeVar("_T")

_LOGITS = 1 << 25
"""Float32 numbers of logits in memory at once."""
LEAST_TOKENS = 32
"""A pack that does not fit and has no more than this cannot be helped by splitting."""
_FULL_ATTENTION = {"full_attention", "sliding_attention"}
_MASKED = {"bloom", "codegen", "falcon", "gptj", "mpt", "stablelm"}
"""Models whose attention cannot be replaced, but which take a mask of any shape, positions, and keys from before."""
_MOVING_POSITIONS = {"dynamic", "longrope"}
"""Kinds of rotary embedding that look at the longest row of a batch."""


class Unshareable(Exception):  # noqa: N818 - a state of the model, not a fault
    """Prefixes cannot be shared with this model, or not any more; says why."""


def unless_out_of_memory(compute: Callable[[], _T], proven: bool) -> _T | None:
    """What was computed; None where memory was too short.

    A function of its own: the exception holds the tensors of what failed until this frame is left.

    Args:
        proven: the model is known to share prefixes well.

    Raises:
        Unshareable: its code does not take what sharing asks of it.
    """
    try:
        return compute()
    except Unshareable:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            return None
        if proven:
            raise
        said = " ".join(str(error).split())[:200]
        raise Unshareable(f"the model raised {type(error).__name__}: {said}") from error


def obstacle(model: Any) -> str | None:
    """Why prefixes cannot be shared with a model; None if it seems that they can."""
    config = model.config.get_text_config()
    if model.config.is_encoder_decoder:
        return f"{config.model_type} has an encoder"
    if not getattr(model, "_supports_attention_backend", False) and config.model_type not in _MASKED:
        return f"{config.model_type} computes its attention in its own way"
    if getattr(model, "_is_stateful", False) or not set(getattr(config, "layer_types", None) or ()) <= _FULL_ATTENTION:
        return f"{config.model_type} has layers with a state of their own"
    if not getattr(config, "is_causal", True) or getattr(config, "use_bidirectional_attention", None):
        return f"{config.model_type} looks ahead"
    if _rope_type(config) in _MOVING_POSITIONS:
        return "its position encoding changes with the longest row of a batch"
    if model.get_decoder() is model:
        return f"{config.model_type} has no layers apart from its head"
    return None


def _rope_type(config: Any) -> str | None:
    stated = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind: str | None = stated.get("rope_type") or stated.get("type")
    return kind


@dataclass(slots=True)
class SharingModel:
    """Runs packs through a model."""

    model: Any
    decoder: Any
    row_multiple: int = 1
    masked: bool = False
    """Its own attention is kept, and told by a mask what each token looks at. It does not continue prompts that way."""
    forwarded: int = 0
    """Tokens of prompts and continuations so far."""
    probed: int = 0
    """Tokens so far that were computed once more without sharing, to compare."""
    decoded: int = 0
    """Tokens of answers so far."""
    last: Any = None
    """The feed-forward part of the last layer, if it is a module of its own."""
    _output: Any = None
    """What the decoder returns: a class that takes hidden states."""

    @classmethod
    def of(cls, model: Any, row_multiple: int = 1) -> SharingModel:
        """A model without :func:`obstacle`."""
        from transformers import AttentionInterface

        AttentionInterface.register(NAME, tree_attention)
        masked = model.config.get_text_config().model_type in _MASKED
        decoder = model.get_decoder()
        return cls(model, decoder, row_multiple, masked, last=_last(decoder))

    @property
    def device(self) -> Any:
        """Where tokens go."""
        return self.model.device

    def tolerance(self, tokens: int) -> float:
        """How far log-probabilities of so many tokens may differ between two ways that are both right.

        Rounding of float32 shows in the fifth digit. With 8 to 11 bits of mantissa every logit is off by some
        hundredths, at random.
        """
        import torch

        if self.model.dtype in (torch.float32, torch.float64):
            return 1e-4 * (1 + tokens)
        return 0.2 * (1 + math.sqrt(tokens))

    def forward(
        self,
        pack: Pack,
        path: Path,
        rows: Sequence[array[int]],
        read: Collection[int],
        slots: Slots | None = None,
        taps: Sequence[Tap] = (),
    ) -> Any:
        """Last hidden states ``[place, width]`` of a pack of ``rows``, right where they are ``read``.

        What the pack keeps is put on the path by a step.
        """
        import torch

        frame = PackFrame(pack, path, torch.tensor(pack.depths(), device=self.device), slots, taps)
        with self._only(read, pack.size):
            return self.hidden(frame, pack.tokens(rows))

    @contextmanager
    def _only(self, read: Collection[int], size: int) -> Iterator[None]:
        """Nothing comes after the last layer: what it adds to places that are not read is left out."""
        import torch

        if self.last is None or len(read) * 2 > size:
            yield
            return
        own = self.last.forward
        wanted = sorted(read) or [0]
        # Any place fills the rows up.
        places = torch.tensor(wanted + [0] * (-len(wanted) % self.row_multiple), device=self.device)

        def forward(states: Any, *more: Any, **named: Any) -> Any:
            if more or named or states.dim() != 3:
                return own(states, *more, **named)
            at = places.to(states.device)
            found = own(states[:, at])
            output, *others = found if isinstance(found, tuple) else (found,)
            whole = states.new_zeros((*states.shape[:2], output.shape[2]), dtype=output.dtype)
            whole[:, at] = output
            return (whole, *others) if isinstance(found, tuple) else whole

        with _replaced(self.last, forward):
            yield

    def hidden(self, frame: Frame, tokens: Sequence[int]) -> Any:
        """Last hidden states ``[place, width]`` of a frame."""
        import torch

        # The rows of every matrix product are filled up, so that their number does not change a bit.
        padding = -len(tokens) % self.row_multiple
        inputs = torch.tensor([*tokens, *[0] * padding], device=self.device)[None]
        depths = torch.nn.functional.pad(frame.depths, (0, padding))[None]
        if self.masked:
            found = masked_pass(self.model, self.decoder, frame, inputs, depths)
        else:
            with framed(frame), _attention(self.model, NAME):
                found = self.decoder(input_ids=inputs, position_ids=depths, use_cache=False)
        self._output = type(found)
        return found.last_hidden_state[0, : len(tokens)]

    def logits(self, hidden: Any) -> Any:
        """Logits ``[n, vocabulary]`` of hidden states, with whatever the model does to them."""
        import torch

        rows = torch.nn.functional.pad(hidden, (0, 0, 0, -len(hidden) % self.row_multiple))
        given = self._output(last_hidden_state=rows[None])
        tokens = torch.zeros((1, len(rows)), dtype=torch.long, device=hidden.device)
        with _replaced(self.decoder, lambda *_, **__: given):
            return self.model(input_ids=tokens, use_cache=False).logits[0, : len(hidden)]

    def logprobs(self, hidden: Any, places: Sequence[int], tokens: Sequence[int]) -> tuple[list[float], list[bool]]:
        """Natural logarithms of the probability that each of ``tokens`` follows its place, and which come first."""
        import torch

        if not tokens:
            return [], []
        at, index = torch.tensor(places, device=hidden.device).unique(return_inverse=True)
        follows = torch.tensor(tokens, device=hidden.device)
        values = torch.empty(len(tokens), dtype=torch.float32, device=hidden.device)
        hits = torch.empty(len(tokens), dtype=torch.bool, device=hidden.device)
        step = max(1, _LOGITS // self.model.config.get_text_config().vocab_size)
        for start in range(0, len(at), step):
            logits = self.logits(hidden[at[start : start + step]]).float()
            mine = ((index >= start) & (index < start + step)).nonzero()[:, 0]
            row = index[mine] - start
            values[mine] = logits[row, follows[mine]] - logits.logsumexp(dim=-1)[row]
            hits[mine] = logits.argmax(dim=-1)[row] == follows[mine]
        return values.tolist(), hits.tolist()


def _last(decoder: Any) -> Any:
    """The feed-forward part of the last layer."""
    layers = getattr(decoder, "layers", None) or getattr(decoder, "h", None)
    return getattr(layers[-1], "mlp", None) if layers else None


@contextmanager
def _attention(model: Any, name: str) -> Iterator[None]:
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def _replaced(module: Any, forward: Any) -> Iterator[None]:
    """A module that answers with this instead of computing."""
    own = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
