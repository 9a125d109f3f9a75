"""Encoder-decoder models: as in lm-eval, the encoder gets the context, and the decoder what is scored or generated."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lmrun.backends.hf.generating import Generator
from lmrun.backends.hf.loaded import Loaded, as_array
from lmrun.backends.hf.plan import Member, Row, Shape, batches, padded_length
from lmrun.backends.hf.scoring import Score, Scorer
from lmrun.backends.tokenize import Unanswerable, cut_prompt
from lmrun.requests import Request, Response

_NO_LABEL = -100
"""What transformers leaves out of its loss."""


class Seq2SeqLoaded(Loaded):
    """Model and tokenizer of an encoder-decoder. A row is what the encoder gets; its members go to the decoder."""

    __slots__ = ()

    def scorer(self) -> Scorer:
        """What scores batches."""
        encode = partial(self.alone.through, self.model.get_encoder())
        return Seq2SeqScorer(
            self.forward, self.device, False, self.shape.row_multiple, encode, self.shape, self.max_length
        )

    def generator(self) -> Generator:
        """What continues batches of prompts."""
        tokenizer, multiple = self.encoder.tokenizer, self.shape.row_multiple
        return Seq2SeqGenerator(self.model, tokenizer, self.generate, self.device, multiple, self.reasoning)

    def pair(self, request: Request) -> tuple[Row, Response]:
        """The row that scores a continuation, of nobody yet, and the response but for the score.

        Raises:
            Unanswerable: no continuation, or one that is too long.
        """
        prompt = self.encoder.render(request.context)
        pair = self.encoder.apart(prompt.text, request.continuation)
        n_scored = len(pair.continuation)
        if n_scored > self.max_length:
            text = f"{n_scored} tokens to score, but the model takes {self.max_length} at most"
            raise Unanswerable("continuation_too_long", text)
        cut = cut_prompt(pair.context, self.max_length, 0, self.too_long)
        row = Row(as_array(cut.inputs), (Member(0, 0, as_array(pair.continuation)),))
        return row, Response(
            prompt_tokens=len(cut.inputs),
            completion_tokens=n_scored,
            dropped_tokens=cut.dropped,
            notes=prompt.notes,
        )

    def windows(self, request: Request) -> list[Row]:
        """The rows that score a long text together: of each window, what stands before it goes to the encoder."""
        return [
            Row(as_array(window.context), (Member(0, i, as_array(window.predicted)),))
            for i, window in enumerate(self.encoder.windows(request.continuation, self.max_length))
        ]

    def longest_prompt(self, max_new_tokens: int) -> int:
        """All that the encoder takes: the answer is not in it."""
        return self.max_length


@dataclass(frozen=True, slots=True)
class Seq2SeqScorer(Scorer):
    """Scores batches: every context is encoded once, whatever the number of its continuations."""

    encode: Callable[..., Any]
    """The forward pass of the encoder."""
    shape: Shape
    max_length: int

    def score(self, rows: Sequence[Row], length: int) -> list[Score]:
        """Scores of all members of ``rows``, whose contexts are padded on the right to ``length``."""
        import torch

        members = [(i, member) for i, row in enumerate(rows) for member in row.members]
        members.sort(key=lambda pair: -len(pair[1].continuation))
        lengths = [padded_length(len(m.continuation), self.max_length) for _, m in members]
        scores: list[Score] = []
        with torch.inference_mode():
            states, mask = self._encode([row.inputs for row in rows], length)
            for batch in batches(lengths, self.shape, extra=length):
                some = [members[i] for i in batch]
                scores += self._decode(some, lengths[batch[0]], states, mask)
        return scores

    def _encode(self, contexts: Sequence[array[int]], length: int) -> tuple[Any, Any]:
        inputs, mask = padded(self._filled(contexts, length), length, 0)
        inputs, mask = inputs.to(self.device), mask.to(self.device)
        return self.encode(input_ids=inputs, attention_mask=mask).last_hidden_state, mask

    def _decode(self, members: Sequence[tuple[int, Member]], length: int, states: Any, mask: Any) -> list[Score]:
        import torch
        from transformers.modeling_outputs import BaseModelOutput

        copies = self._filled(members, length)
        at = torch.tensor([i for i, _ in copies], device=self.device)
        labels, _ = padded([member.continuation for _, member in copies], length, _NO_LABEL)
        logits = self.forward(
            encoder_outputs=BaseModelOutput(last_hidden_state=states[at]),
            attention_mask=mask[at],
            # The model itself shifts them to the right, behind its start token.
            labels=labels.to(self.device),
            use_cache=False,
        ).logits
        return self._read([Row(member.continuation, (member,)) for _, member in members], logits, 0)

    def _filled(self, rows: Sequence[Any], length: int) -> list[Any]:
        """Rows, some of them again where matrix products would not be filled up."""
        count = len(rows) if length % self.row_multiple == 0 else -(-len(rows) // self.row_multiple) * self.row_multiple
        return [rows[i % len(rows)] for i in range(count)]


class Seq2SeqGenerator(Generator):
    """Generates: the prompt is encoded, and the decoder begins with its start token."""

    __slots__ = ()

    def _padded(self, rows: Sequence[array[int]], length: int) -> tuple[Any, Any]:
        return padded(rows, length, self._pad())

    def _start(self, length: int) -> int:
        return 1


def padded(rows: Sequence[array[int]], length: int, pad: int) -> tuple[Any, Any]:
    """Rows padded on the right to ``length``, and the mask of what is not padding."""
    import torch

    inputs = torch.full((len(rows), length), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), length), dtype=torch.long)
    for i, row in enumerate(rows):
        inputs[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = 1
    return inputs, mask
