"""Errors of samples that come again however often one asks, and what to change instead."""

from __future__ import annotations

from collections.abc import Mapping

LASTING: Mapping[str, str] = {
    "http_400": "the server refuses these requests: its words are in the samples",
    "http_413": "the server takes no requests of this size: shorten the prompts or the answers",
    "http_422": "the server refuses these requests: its words are in the samples",
    "context_too_long": "lower num_fewshot or max_gen_toks, or set too_long of the model",
    "prompt_too_long": "lower num_fewshot or max_gen_toks, or set too_long of the model",
    "bad_generation_parameter": "change generation in the manifest, or generation_kwargs of the task",
    "choice_not_in_top_logprobs": "too few alternatives are shown: score in another way, or take a generative task",
    "empty_continuation": "these docs have a choice without text: mend the task or its data",
    "no_prefix_token": "the tokenizer has no BOS or EOS token to score a text after",
    "chat_template_failed": "name another chat_template of the model, or set apply_chat_template = false",
    "not_rendered": "mend the task or its data, then start a new run",
    "not_scored": "mend the code of the task, then: lmrun score",
}
"""Kind of error → advice."""
