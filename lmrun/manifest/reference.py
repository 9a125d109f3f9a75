"""``docs/manifest.md``, made from the schema that manifests are checked with.

``python -m lmrun.manifest.reference > docs/manifest.md`` writes it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from lmrun.manifest.schema import json_schema

_TABLES = (
    ("ManifestFile", "At the top of the file"),
    ("Defaults", "`[defaults]`"),
    ("HfModel", '`[[models]]` with `backend = "hf"`'),
    ("VllmModel", '`[[models]]` with `backend = "vllm"`'),
    ("CompletionsModel", '`[[models]]` with `backend = "openai-completions"`'),
    ("ChatModel", '`[[models]]` with `backend = "openai-chat"`'),
    ("AnthropicModel", '`[[models]]` with `backend = "anthropic"`'),
    ("Concurrency", "`concurrency = { … }`"),
    ("Retry", "`retry = { … }`"),
    ("Timeout", "`timeout = { … }`"),
    ("Price", "`price = { … }`"),
    ("Dialect", "`dialect = { … }`"),
    ("PluginModel", "`[[models]]` with any other backend"),
    ("TaskEntry", "`[[tasks]]`"),
    ("Generation", "`generation = { … }`"),
    ("TasksPath", "`[tasks_path]`"),
    ("Data", "`[data]`"),
    ("Decontaminate", "`[decontaminate]`"),
    ("Run", "`[run]`"),
)
_INTRODUCTION = """\
# The manifest

A manifest is a TOML file: `[[models]]` × `[[tasks]]`, and how to ask. `lmrun init` writes one to start from,
`lmrun validate` checks one. Unknown keys, wrong types and settings that cannot go together are refused before anything
loads, all at once, each with its line and column.

```toml
name = "leaderboard"
include = ["common.toml"]        # read first; this file wins

[defaults]
limit = 100

[[models]]
backend = "hf"
model = "EleutherAI/pythia-160m"
dtype = ["float32", "bfloat16"]  # a matrix axis: two models

[[tasks]]
name = "arc_challenge"
num_fewshot = [0, 25]            # two settings, so four jobs

[[tasks]]
name = "mmlu*"
num_fewshot = 5
apply_chat_template = true
```

**Axes.** Where the type says *axis*, a list stands for one variant per value; several axes make every combination, the
one written last varying fastest. A model is named after its values: `pythia-160m[dtype=float32]`.

**Includes.** Included files come first, in the order written. Tables are merged key by key. Models and tasks are added
up, but a model takes the place of an included one with the same name.

**Paths** are relative to the folder of the file they are written in; those in `[run]` to the folder in which lmrun is
started.

**`--set a.b=value`** changes one value from the command line: `--set defaults.limit=10`,
`--set models.0.dtype=float32`, `--set models.demo.device=cpu` (by name), `--set 'tasks.*.num_fewshot=0'` (all of them).
The value is TOML, or else plain text.

**Secrets** are refused in a manifest; it is copied into every run. Write the name of an environment variable.
"""


def reference_markdown() -> str:
    """The whole page."""
    schema = json_schema()
    tables = {**schema["$defs"], "ManifestFile": schema}
    return "\n".join([_INTRODUCTION, *(_section(heading, tables[name], tables) for name, heading in _TABLES)])


def _section(heading: str, table: Mapping[str, Any], tables: Mapping[str, Any]) -> str:
    required = table.get("required", ())
    fields = sorted(table["properties"].items(), key=lambda item: item[0] not in required)
    rows = [
        f"| `{key}` | {_type(field)} | {_default(key, field, table)} | {_meaning(field, tables)} |"
        for key, field in fields
    ]
    head = f"## {heading}\n\n{table['description']}\n\n| key | type | default | meaning |\n|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def _default(key: str, field: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    if key in table.get("required", ()):
        return "required"
    return f"`{json.dumps(field['default'])}`" if "default" in field else ""


def _meaning(field: Mapping[str, Any], tables: Mapping[str, Any]) -> str:
    # A field that says the same as the table it refers to has no text of its own.
    text = field.get("description") or tables[field["$ref"].rpartition("/")[2]]["description"]
    return " ".join(text.split()).replace("|", "\\|")


def _type(field: Mapping[str, Any]) -> str:
    """The type in words."""
    if "oneOf" in field and len(field["oneOf"]) == 2 and field["oneOf"][1].get("items") == field["oneOf"][0]:
        return f"{_type(field['oneOf'][0])}; axis"
    return " or ".join(dict.fromkeys(_words(field)))


def _words(field: Mapping[str, Any]) -> Iterator[str]:
    for each in [*field.get("anyOf", ()), *field.get("oneOf", ())]:
        yield from _words(each)
    if "const" in field:
        yield f"`{json.dumps(field['const'])}`"
    elif "enum" in field:
        yield from (f"`{json.dumps(value)}`" for value in field["enum"])
    elif "$ref" in field:
        yield "table"
    elif field.get("type") == "array":
        items = field.get("items", {})
        yield "tables" if "oneOf" in items or "$ref" in items else f"list of {_type(items)}"
    elif "type" in field:
        yield _NAMES[field["type"]] + _bounds(field)


_NAMES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true/false", "object": "table"}


def _bounds(field: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = " and ".join(f"{sign} {field[key]:g}" for key, sign in signs.items() if key in field)
    if "pattern" in field:
        bounds = f"like `{field['pattern']}`"
    return f" {bounds}" if bounds else ""


if __name__ == "__main__":
    sys.stdout.write(reference_markdown())
