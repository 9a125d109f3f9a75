"""What may stand in a manifest file: the one description behind checking, JSON Schema and reference.

A docstring under a field is its text in all three. Nothing here looks at the disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    ValidationError,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from lmrun.manifest.backends import backend_names

T = TypeVar("T")
DEFAULT_SEED = 1234
DEFAULT_NGRAM = 13


def expects(text: str, choices: Iterable[str] = ()) -> WrapValidator:
    """Turn whatever is wrong with a value into one error that says what was expected, and among which ``choices``."""
    context = {"expected": text, "choices": list(choices)}

    def check(value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            raise PydanticCustomError("expected", "{expected}", context) from error

    return WrapValidator(check)


def _one_of(choices: Iterable[str]) -> str:
    return "one of " + ", ".join(f'"{choice}"' for choice in choices)


_DTYPES = ("auto", "float32", "float16", "bfloat16", "float64")
_DEVICES = ("auto", "cpu", "cuda", "cuda:0", "mps")
_TOO_LONG = ("left", "middle", "error", "skip")
_BARE = Field(strict=True)

Text: TypeAlias = Annotated[str, Field(strict=True, min_length=1), expects("text in quotes")]
AnyText: TypeAlias = Annotated[str, _BARE, expects("text in quotes")]
Flag: TypeAlias = Annotated[bool, _BARE, expects("true or false, without quotes")]
Count: TypeAlias = Annotated[int, Field(strict=True, ge=0), expects("a whole number, 0 or more")]
Positive: TypeAlias = Annotated[int, Field(strict=True, gt=0), expects("a whole number above 0")]
Limit: TypeAlias = Annotated[
    Annotated[int, Field(strict=True, gt=0)] | Annotated[float, Field(strict=True, gt=0, lt=1)],
    expects("a number of docs above 0, or a share of the docs between 0 and 1 such as 0.1"),
]
Dtype: TypeAlias = Annotated[
    Literal["auto", "float32", "float16", "bfloat16", "float64"], expects(_one_of(_DTYPES), _DTYPES)
]
Device: TypeAlias = Annotated[
    Literal["auto", "cpu", "cuda", "mps"] | Annotated[str, Field(strict=True, pattern=r"^cuda:[0-9]+$")],
    expects(_one_of(_DEVICES), _DEVICES),
]
BatchTokens: TypeAlias = Annotated[
    Literal["auto"] | Annotated[int, Field(strict=True, gt=0)],
    expects('"auto" or a whole number above 0 (tokens per batch)', ["auto"]),
]
Share: TypeAlias = Annotated[float, Field(strict=True, ge=0, le=1), expects("a number from 0 to 1")]
NotNegative: TypeAlias = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False), expects("a number, 0 or more")]
Texts: TypeAlias = Annotated[
    Annotated[str, _BARE] | list[Annotated[str, _BARE]], expects("text in quotes, or a list of texts")
]
Name: TypeAlias = Annotated[
    str,
    Field(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80),
    expects("letters, digits, dots, dashes and underscores: it becomes part of a folder name"),
]
Label: TypeAlias = Annotated[
    str,
    Field(strict=True, min_length=1, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$"),
    expects("text in quotes, without control characters"),
]
_FreeScalar: TypeAlias = (
    Annotated[bool, _BARE]
    | Annotated[int, _BARE]
    | Annotated[float, Field(strict=True, allow_inf_nan=False)]
    | Annotated[str, _BARE]
)
Free: TypeAlias = Annotated[
    _FreeScalar | list[_FreeScalar], expects("text, a number, true or false, or a list of these")
]
Option: TypeAlias = Annotated[JsonValue, expects("text, a number, true or false, a list or a table")]
DeviceMap: TypeAlias = Annotated[
    Annotated[str, Field(strict=True, min_length=1)] | dict[str, Annotated[str, _BARE] | Annotated[int, _BARE]],
    expects('text such as "auto", or a table from module name to device'),
]
Reasoning: TypeAlias = Annotated[
    Literal["auto"]
    | Annotated[dict[Literal["start", "end"], Annotated[str, Field(strict=True, pattern=r"\S")]], Field(min_length=2)],
    expects('"auto", or { start = "<think>", end = "</think>" }', ["auto"]),
]
Ngram: TypeAlias = Annotated[
    Literal["auto"] | Annotated[int, Field(strict=True, gt=0)],
    expects('"auto" or a whole number above 0 (words)', ["auto"]),
]
TooLong: TypeAlias = Annotated[Literal["left", "middle", "error", "skip"], expects(_one_of(_TOO_LONG), _TOO_LONG)]


def folder_name(text: str) -> str:
    """``text`` changed as little as needed to be a valid name of a manifest."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:80] or "manifest"


def _known_backend(name: str) -> str:
    names = backend_names()
    if name not in names:
        context = {"expected": _one_of(names), "choices": list(names)}
        raise PydanticCustomError("expected", "{expected}", context)
    return name


# What is installed differs between machines, so the schema of the file leaves the name open.
PluginName: TypeAlias = Annotated[
    Text, AfterValidator(_known_backend), WithJsonSchema({"type": "string", "not": {"const": "hf"}})
]

ONE, MANY, HF, PLUGIN = "<one>", "<many>", "<hf>", "<plug-in>"
TAGS = frozenset({ONE, MANY, HF, PLUGIN})
"""Tags of the forms that a value can have. They stand in the place of a pydantic error, but are no step in the file."""


def _form(value: Any) -> str:
    return MANY if isinstance(value, list) else ONE


Axis: TypeAlias = Annotated[
    Annotated[T, Tag(ONE)] | Annotated[list[T], Field(min_length=1), Tag(MANY)], Discriminator(_form)
]
"""A value, or a list of values of which each makes a variant of the entry (a matrix axis)."""


class Section(BaseModel):
    """A table of a manifest: unknown keys refused, field docstrings kept."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


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


_COMPAT = ("lm-eval",)
Compat: TypeAlias = Annotated[Literal["lm-eval"], expects(_one_of(_COMPAT), _COMPAT)]


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


class ModelKeys(Section):
    """What every model has."""

    name: Label | None = None
    """Unique label in results. Absent: the last part of `model`. Axes add to it: `name[dtype=float32]`."""
    model: Axis[Text]
    """Hub id, local path relative to this file, served name, or `bundled:demo`."""


class HfModel(ModelKeys):
    """A model that transformers loads. A list as a value of any key but `name` and `backend` is a matrix axis."""

    backend: Literal["hf"]
    """`hf`: transformers, on this machine."""
    revision: Axis[Text] | None = None
    """Branch, tag or commit on the hub."""
    dtype: Axis[Dtype] = "auto"
    """Precision of the weights; `auto` is what the model was saved in."""
    device: Axis[Device] = "auto"
    """Where the model runs; `auto` is a GPU if there is one, or else the CPU."""
    device_map: Axis[DeviceMap] | None = None
    """Spread the model over devices, as accelerate does. Not together with `device`."""
    batch_tokens: Axis[BatchTokens] = "auto"
    """Tokens per batch, padding included; `auto` measures the memory."""
    max_length: Axis[Positive] | None = None
    """Longest input in tokens. Absent: what the model says."""
    trust_remote_code: Axis[Flag] = False
    """Run Python code that comes with the model."""
    add_bos_token: Axis[Flag] | None = None
    """Begin every input with the BOS token. Absent: what the tokenizer does."""
    tokenizer: Axis[Text] | None = None
    """Hub id or local path of another tokenizer."""
    attn_implementation: Axis[Text] | None = None
    """For example `sdpa`, `eager` or `flash_attention_2`."""
    chat_template: Axis[Text] | None = None
    """File with a template relative to this file, or name of one of the model's templates."""
    reasoning: Axis[Reasoning] | None = None
    """Split off what the model thinks aloud, by these delimiters; `auto` looks for known ones. Absent: do not split."""
    too_long: Axis[TooLong] = "left"
    """What becomes of a prompt that does not fit: it is cut on the `left` or in the `middle`, or its sample is an
    `error`, or left out (`skip`)."""


class PluginModel(ModelKeys):
    """A model behind a backend that is installed as a plug-in, or behind `scripted`."""

    backend: PluginName
    """Name of the backend; `lmrun ls backends` lists them."""
    options: dict[str, Option] = Field(default_factory=dict)
    """Whatever the backend understands. Lists in here are values, not axes."""


def _kind_of_model(value: Any) -> str:
    return HF if isinstance(value, dict) and value.get("backend") == "hf" else PLUGIN


ModelItem: TypeAlias = Annotated[
    Annotated[HfModel, Tag(HF)] | Annotated[PluginModel, Tag(PLUGIN)], Discriminator(_kind_of_model)
]


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


SECTIONS: dict[tuple[str, ...], type[Section]] = {
    (): ManifestFile,
    ("defaults",): Defaults,
    ("defaults", "generation"): Generation,
    ("models", HF): HfModel,
    ("models", PLUGIN): PluginModel,
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
