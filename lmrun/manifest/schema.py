"""What may stand in a manifest file: the one description behind checking, JSON Schema and reference.

A docstring under a field is its text in all three. Nothing here looks at the disk.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from lmrun.manifest import model_tables as models
from lmrun.manifest.model_tables import ModelItem
from lmrun.manifest.values import (
    DEFAULT_NGRAM,
    DEFAULT_SEED,
    MANY,
    ONE,
    AnyText,
    Axis,
    Compat,
    Count,
    Flag,
    Free,
    Limit,
    Name,
    Ngram,
    NotNegative,
    Option,
    Positive,
    Section,
    Share,
    Text,
    Texts,
)

TAGS = frozenset({ONE, MANY}) | models.KINDS
"""Tags of the forms that a value can have. They stand in the place of a pydantic error, but are no step in the file."""


def folder_name(text: str) -> str:
    """``text`` changed as little as needed to be a valid name of a manifest."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:80] or "manifest"


class Generation(Section):
    """How an answer is generated; further keys are handed to the backend as they are."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)
    __pydantic_extra__: dict[str, Free]

    until: Texts | None = None
    """Stop strings. Absent: those of the task."""
    max_gen_toks: Positive | None = None
    """Longest answer, in tokens."""
    temperature: NotNegative | None = None
    """0 is greedy."""
    do_sample: Flag | None = None
    """Draw from the distribution, rather than take the likeliest token."""
    top_p: Share | None = None
    """Draw from the likeliest tokens that together have this probability."""
    top_k: Count | None = None
    """Draw from this many of the likeliest tokens."""


class TaskKeys(Section):
    """What may be said of one task, and in ``[defaults]`` of all."""

    num_fewshot: Axis[Count] | None = None
    """Examples shown before each doc. Absent: what the task says."""
    apply_chat_template: Axis[Flag] | None = None
    """Put prompts in the chat format of the model. Absent: false."""
    fewshot_as_multiturn: Axis[Flag] | None = None
    """Examples are turns of a conversation, not one text. Needs `apply_chat_template = true`, and is on with it."""
    system_instruction: Axis[AnyText] | None = None
    """Text before everything else; the system message where a chat template is applied."""
    generation: Generation | None = None
    """Changes to the task's generation settings. Keys in a task win over those in `[defaults]`."""
    robust: Axis[Flag] | None = None
    """Score generated answers also by a robust filter that fits the targets, beside the task's own. Absent: false."""
    metadata: dict[str, Option] | None = None
    """Put over the task's `metadata`, which code that makes its docs is given. Keys in a task win over `[defaults]`."""
    compat: Axis[Compat] | None = None
    """`lm-eval`: do as lm-eval 0.4.13 does even where that is plainly wrong."""


class Defaults(TaskKeys):
    """Said of every task that does not say otherwise."""

    seed: Count = DEFAULT_SEED
    """Seed of everything random: the choice of few-shot examples, sampling, bootstrap."""
    limit: Limit | None = None
    """Docs per task: a number, or a share between 0 and 1. Absent: all."""


class TaskEntry(TaskKeys):
    """One task, or several with the same settings. A list as a value of any key but `generation` is a matrix axis."""

    name: Axis[Text]
    """Task, group, tag, wildcard (`mmlu*`), or path of a task YAML relative to this file."""
    limit: Axis[Limit] | None = None
    """Docs of this task: a number, or a share between 0 and 1."""
    seed: Axis[Count] | None = None
    """Seed for this task."""


class TasksPath(Section):
    """Folders with task YAMLs of your own."""

    paths: list[Text] = Field(default_factory=list)
    """Folders, relative to this file, searched besides the bundled tasks."""
    trust: Flag = False
    """Run Python code (`!function`) that task files in these folders name."""


class Data(Section):
    """Where datasets come from."""

    mirror: Text | None = None
    """Folder, relative to this file, with `<org>/<name>/<config or "default">/<split>.parquet` (or jsonl, jsonl.gz)."""
    offline: Flag = False
    """Open no connection: take everything from the mirror and local caches."""


class Decontaminate(Section):
    """Corpora in which docs of the tasks are looked for, to score those that are in them and the others apart."""

    corpora: Annotated[list[Text], Field(min_length=1)]
    """Files relative to this file: `.jsonl`, `.txt` (both also with `.gz`), `.parquet`; `*` and `**` are wildcards."""
    ngram: Ngram = DEFAULT_NGRAM
    """So many words in a row make an overlap; `auto` is 8 to 13 by the length of the docs of each task."""
    field: Text = "text"
    """Key of the text in JSON lines and Parquet."""


class Run(Section):
    """Where results go; relative to the folder in which lmrun is started."""

    runs_dir: Text = "runs"
    """Folder in which every run gets its own."""
    cache: Text = "runs/cache.db"
    """File with the answers of all runs."""
    budget_usd: NotNegative | None = None
    """Stop, resumably, before the answers of a run cost more than this. Every model needs a price then."""
    budget_tokens: Positive | None = None
    """Stop, resumably, before a run has used more tokens, prompts and answers together."""
    prices: Text | None = None
    """File with prices of models, relative to this file; wins over the table that lmrun brings."""


class ManifestFile(Section):
    """An lmrun manifest: which models answer which tasks, and how."""

    name: Name | None = None
    """Part of the id of each run. Absent: the name of the file."""
    include: Texts | None = None
    """Other manifests, relative to this file, that this one adds to; where both say something, this file wins."""
    defaults: Defaults = Field(default_factory=Defaults)
    """Said of every task that does not say otherwise."""
    models: list[ModelItem] = Field(default_factory=list)
    """Models, each asked every task."""
    tasks: list[TaskEntry] = Field(default_factory=list)
    """Tasks, each put to every model."""
    tasks_path: TasksPath = Field(default_factory=TasksPath)
    """Folders with task YAMLs of your own."""
    data: Data = Field(default_factory=Data)
    """Where datasets come from."""
    decontaminate: Decontaminate | None = None
    """Corpora in which docs of the tasks are looked for."""
    run: Run = Field(default_factory=Run)
    """Where results go."""


_API: dict[str, type[Section]] = {
    models.COMPLETIONS: models.CompletionsModel,
    models.CHAT: models.ChatModel,
    models.ANTHROPIC: models.AnthropicModel,
}
_API_TABLES: dict[str, type[Section]] = {
    "concurrency": models.Concurrency,
    "retry": models.Retry,
    "timeout": models.Timeout,
    "price": models.Price,
    "dialect": models.Dialect,
}
_API_SECTIONS: dict[tuple[str, ...], type[Section]] = {
    **{("models", tag): table for tag, table in _API.items()},
    **{("models", tag, key): table for tag in _API for key, table in _API_TABLES.items()},
}
SECTIONS: dict[tuple[str, ...], type[Section]] = {
    (): ManifestFile,
    ("defaults",): Defaults,
    ("defaults", "generation"): Generation,
    ("models", models.HF): models.HfModel,
    ("models", models.VLLM): models.VllmModel,
    **_API_SECTIONS,
    ("models", models.PLUGIN): models.PluginModel,
    ("tasks",): TaskEntry,
    ("tasks", "generation"): Generation,
    ("tasks_path",): TasksPath,
    ("data",): Data,
    ("decontaminate",): Decontaminate,
    ("run",): Run,
}
"""The table behind each place of a pydantic error, list positions left out."""


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a manifest file, for editors and other tools."""
    schema = _tidy(ManifestFile.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "lmrun manifest"}


def _tidy(schema: Any) -> Any:
    """Leave out what TOML cannot say (null), and titles that only repeat the key."""
    if isinstance(schema, list):
        return [_tidy(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _tidy(value) for key, value in schema.items() if not _noise(key, value)}
    options = [option for option in kept.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        del kept["anyOf"]
        return {**options[0], **kept}
    return {**kept, "anyOf": options} if options else kept


def _noise(key: str, value: Any) -> bool:
    return (key == "title" and isinstance(value, str)) or (key == "default" and value in (None, {}, []))
