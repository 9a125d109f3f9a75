"""What pydantic found wrong, said in the words of the manifest and shown where it was written."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lmrun.errors import Problem, did_you_mean
from lmrun.manifest.model_tables import PLUGIN
from lmrun.manifest.schema import SECTIONS, TAGS, ManifestFile
from lmrun.manifest.tree import Node
from lmrun.manifest.values import MANY, ONE

_MODELS, _TASKS = "models", "tasks"
_SHOWN_LENGTH = 60

# What people coming from lm-eval's command line, or from PyTorch, write.
_OTHER_WORDS = {
    "pretrained": "model",
    "model_name_or_path": "model",
    "batch_size": "batch_tokens",
    "max_batch_size": "batch_tokens",
    "parallelize": "device_map",
    "max_memory_per_gpu": "max_memory",
    "max_cpu_memory": "max_memory",
    "data_parallel_size": "replicas",
    "peft": "adapter",
    "lora": "adapter",
    "load_in_8bit": "quantization",
    "load_in_4bit": "quantization",
    "think_end_token": "reasoning",
    "gen_kwargs": "generation",
    "generation_kwargs": "generation",
    "n_shot": "num_fewshot",
    "nshot": "num_fewshot",
    "fewshot": "num_fewshot",
    "task": "name",
    "include_path": "tasks_path",
    "use_cache": "cache",
    "output_path": "runs_dir",
    "random_seed": "seed",
    "gpu": "cuda",
    "fp16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "fp32": "float32",
    "float": "float32",
    "fp64": "float64",
    "double": "float64",
    "huggingface": "hf",
    "transformers": "hf",
    "hf-causal": "hf",
}

Loc: TypeAlias = tuple[str | int, ...]
"""Place of a pydantic error: keys and list positions, and tags of variants, which stand for no step."""
Step: TypeAlias = tuple[Node, str | int]
"""A table or array, and the key or position of its member."""


def validate(tree: Node) -> tuple[ManifestFile, list[Problem]]:
    """Check ``tree`` against the schema; returns what is right of it, and a problem for everything else.

    What is wrong is taken out of ``tree``, so that places in the result and in ``tree`` agree, and the rest can be
    judged further.
    """
    problems: list[Problem] | None = None
    while True:
        try:
            return ManifestFile.model_validate(tree.plain()), problems or []
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
            # Errors of later rounds only follow from what the first one took out.
            if problems is None:
                problems = _translate(details, tree)
            _take_out(details, tree)


def _translate(details: list[ErrorDetails], tree: Node) -> list[Problem]:
    # Which keys a model may have depends on its backend: without a valid one, none can be called unknown.
    undecided = {found["loc"][1] for found in details if found["loc"][0] == _MODELS and found["loc"][-1] == "backend"}
    return [
        _problem(found, *_steps(tree, found["loc"])[-1])
        for found in details
        if found["type"] != "extra_forbidden" or found["loc"][0] != _MODELS or found["loc"][1] not in undecided
    ]


def _steps(tree: Node, loc: Loc) -> list[Step]:
    """The way from the root to ``loc``; the last member may be missing."""
    steps: list[Step] = []
    node: Node | None = tree
    for part in loc:
        if node is not None and (part not in TAGS or part in node.table()):
            steps.append((node, part))
            node = node.items()[part] if isinstance(part, int) else node.table().get(part)
    return steps


def _take_out(details: list[ErrorDetails], tree: Node) -> None:
    doomed: list[Node] = []
    ways = [_steps(tree, found["loc"]) for found in details]
    for way, found in zip(ways, details, strict=True):
        for node, part in way:
            if isinstance(part, str):
                node.faulty.add(part)
        if found["type"] == "missing":
            way.pop()
        parent, part = way[-1]
        if isinstance(part, int):
            doomed.append(parent.items()[part])
        else:
            parent.table().pop(part, None)
    for way in ways:
        for node, part in way:
            if isinstance(part, int):
                node.value = [element for element in node.items() if not any(element is one for one in doomed)]


def _problem(found: ErrorDetails, parent: Node, part: str | int) -> Problem:
    loc = found["loc"]
    node = parent.items()[part] if isinstance(part, int) else parent.table().get(part)
    if node is None:
        return parent.place.problem(f"`{part}` is missing", expected=_EXPECTED_KEY.get(str(part)))
    if found["type"] == "extra_forbidden":
        return _unknown_key(node, str(part), _section(loc))
    keys = [str(step) for step in loc if isinstance(step, str) and step not in TAGS]
    context = found.get("ctx", {})
    expected = str(context.get("expected") or _expected_shape(found["type"], keys, loc) or found["msg"].lower())
    value = node.plain()
    hint = _hint_for_value(value, context.get("choices", ()), expected)
    if keys == [_MODELS, "backend"]:
        hint = hint or "other backends come as plug-ins; `lmrun ls backends` lists those that are installed"
    if node.place.override and hint and hint.startswith("in quotes"):
        hint = f"{hint}, with further quotes around it for the shell"
    return node.place.problem(f"`{keys[-1]}` cannot be {shown(value)}", expected=expected, hint=hint)


_EXPECTED_KEY = {
    "backend": 'backend = "hf", or the name of another backend',
    "model": 'model = "org/name" (a hub id), or a local path',
    "name": 'name = "arc_easy" (a task, group, tag, wildcard or path of a YAML)',
}


def _expected_shape(error_type: str, keys: list[str], loc: Loc) -> str | None:
    entry = keys[0] in (_MODELS, _TASKS) and len(keys) == 1
    if error_type == "list_type":
        return f"one table per entry, each headed [[{keys[0]}]]" if entry else "a list"
    if error_type == "too_short":
        return "at least one value"
    if error_type in ("model_type", "model_attributes_type", "dict_type"):
        if entry:
            return f"a table, headed [[{keys[0]}]]"
        if len(keys) == 1:
            return f"a table, headed [{keys[0]}]"
        section = SECTIONS.get(tuple(part for part in loc if isinstance(part, str) and part not in (ONE, MANY)))
        fields = [f"{field} = …" for field in section.model_fields] if section else ["key = value"]
        return f"a table in braces: {{ {', '.join(fields)} }}"
    return None


def _section(loc: Loc) -> tuple[str, ...]:
    """The innermost table of ``SECTIONS`` around ``loc``."""
    keys = tuple(str(part) for part in loc[:-1] if isinstance(part, str) and part not in (ONE, MANY))
    while keys not in SECTIONS:
        keys = keys[:-1]
    return keys


def _unknown_key(node: Node, key: str, section: tuple[str, ...]) -> Problem:
    fields = list(SECTIONS[section].model_fields)
    table = not section and isinstance(node.value, dict | list)
    hint = did_you_mean(key, fields)
    if not table:
        hint = _other_word(key, fields) or _belongs_elsewhere(key, section) or hint
    if hint is None and section == (_MODELS, PLUGIN):
        hint = f"settings of this backend go into a table: options = {{ {key} = … }}"
    message = f"unknown {'table' if table else 'key'} `{key}`{f' in {_home(section)}' if section else ''}"
    return node.place.problem(message, expected=f"one of {', '.join(fields)}", hint=hint, at_key=True)


def _other_word(word: str, known: Sequence[str]) -> str | None:
    ours = _OTHER_WORDS.get(word.lower())
    if word.lower() in ("batch_size", "max_batch_size") and ours in known:
        return f"`{ours}` takes its place and counts tokens, not rows; leave it out to have it chosen"
    return f"here it is called `{ours}`" if ours in known else None


def _belongs_elsewhere(key: str, section: tuple[str, ...]) -> str | None:
    """Name the tables in which ``key`` would be right."""
    word = _OTHER_WORDS.get(key, key)
    homes = dict.fromkeys(_home(other) for other, model in SECTIONS.items() if word in model.model_fields)
    homes.pop(_home(section), None)
    return f"`{word}` belongs in {' or '.join(homes)}" if homes else None


def _home(section: tuple[str, ...]) -> str:
    """How the table ``section`` is headed."""
    if not section:
        return "the top of the file"
    if section[-1] == "generation":
        return "generation = { … }"
    return f"[[{section[0]}]]" if section[0] in (_MODELS, _TASKS) else f"[{section[0]}]"


def _hint_for_value(value: Any, choices: Sequence[str], expected: str) -> str | None:
    if isinstance(value, str):
        return _other_word(value, choices) or did_you_mean(value, choices) or _needless_quotes(value, expected)
    if isinstance(value, list):
        return None if "list" in expected or not value else "a list is not possible for this key"
    if "in quotes" in expected and not isinstance(value, dict):
        return f'in quotes: "{shown(value)}"'
    return None


def _needless_quotes(value: str, expected: str) -> str | None:
    """Say so where ``value`` is what was expected, but in quotes."""
    word = value.strip().lower()
    if "true or false" in expected:
        matches = word in ("true", "false")
    else:
        matches = "number" in expected and re.fullmatch(r"[+-]?\d+(\.\d+)?", word) is not None
    return f"without quotes: {word}" if matches else None


def shown(value: Any) -> str:
    """``value`` about as TOML would have it, short enough for a message."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        if any(isinstance(member, dict | list) for member in value):
            return "a list of tables or lists"
        text = "[" + ", ".join(shown(member) for member in value) + "]"
    elif isinstance(value, str | bool):
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = str(value)
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 1] + "…"
