"""Scores of IFEval: which of a doc's instructions a response follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .checks import CHECKS


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, bool | list[bool]]:
    """The four metrics; those of the instructions are a list with an item for each."""
    (response,) = results
    strict, loose = _followed(doc, [response]), _followed(doc, list(_variants(response)))
    return {
        "prompt_level_strict_acc": all(strict),
        "inst_level_strict_acc": strict,
        "prompt_level_loose_acc": all(loose),
        "inst_level_loose_acc": loose,
    }


def instruction_accuracy(items: Sequence[Sequence[bool]]) -> float:
    """The share of all docs' instructions that are followed."""
    return sum(sum(item) for item in items) / sum(len(item) for item in items)


def _followed(doc: Mapping[str, Any], responses: Sequence[str]) -> list[bool]:
    """For each instruction, whether one of the responses follows it."""
    candidates = [response for response in responses if response.strip()]
    instructions = zip(doc["instruction_id_list"], doc["kwargs"], strict=True)
    return [any(_follows(response, name, stated) for response in candidates) for name, stated in instructions]


def _follows(response: str, instruction: str, stated: Mapping[str, Any]) -> bool:
    if instruction not in CHECKS:
        raise ValueError(f"unknown instruction {instruction!r}; known are {', '.join(sorted(CHECKS))}")
    arguments = {name: value for name, value in stated.items() if value is not None}
    return CHECKS[instruction](response, **arguments)


def _variants(response: str) -> Iterator[str]:
    """The response as it is, without its first or last line or both, and all of these without asterisks."""
    lines = response.split("\n")
    texts = [response, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    yield from texts
    yield from (text.replace("*", "") for text in texts)
