"""The chat template of a model, and what it tells: found in the files of a tokenizer or named by a manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from lmrun.backends import fingerprint as files
from lmrun.backends.reasoning import KNOWN, Delimiters, known_delimiters
from lmrun.errors import BackendError

Reasoning: TypeAlias = Literal["auto"] | Mapping[str, str]
"""``start`` and ``end`` of what a model thinks aloud, or that known ones are looked for."""


def template_file(named: str | None) -> str | None:
    """The text of the template file that a manifest names, or None where it names one of the tokenizer's."""
    return Path(named).read_text(encoding="utf-8") if named and Path(named).is_file() else None


def template_name(named: str | None) -> str | None:
    """The name of one of the tokenizer's templates, or None where a manifest names a file or nothing."""
    return None if named is None or Path(named).is_file() else named


def template_hash(folder: Path, named: str | None) -> str | None:
    """A hash over the template that is used, and its name where one of several is chosen."""
    text = template_file(named)
    if text is None:
        text = files.chat_template(folder)
    if text is None:
        return None
    return files.hash_text(json.dumps([template_name(named) or "", text]))


def stated_delimiters(reasoning: Mapping[str, str]) -> Delimiters:
    """The delimiters that a manifest names."""
    return Delimiters(reasoning["start"].strip(), reasoning["end"].strip())


def delimiters(folder: Path, reasoning: Reasoning | None, named: str | None) -> Delimiters | None:
    """What stands around the reasoning of a model; None where it is not to be split off.

    Raises:
        BackendError: nothing in the tokenizer's files tells.
    """
    if reasoning is None:
        return None
    if not isinstance(reasoning, str):
        return stated_delimiters(reasoning)
    found = known_delimiters(template_file(named) or files.chat_template(folder), _added_tokens(folder))
    if found is None:
        known = ", ".join(known.end for known in KNOWN)
        raise BackendError(
            f'reasoning = "auto": neither chat template nor tokenizer in {folder} has a known delimiter ({known})',
            hint='name them: reasoning = { start = "…", end = "…" }; or leave `reasoning` out',
        )
    return found


def _added_tokens(folder: Path) -> set[str]:
    listed = files.read_json(folder / "tokenizer.json").get("added_tokens", [])
    configured = files.read_json(folder / "tokenizer_config.json").get("added_tokens_decoder", {}).values()
    return {token["content"] for token in (*listed, *configured)} | set(files.read_json(folder / "added_tokens.json"))
