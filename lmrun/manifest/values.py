"""The values that may stand in a manifest file, each with the words for what was expected in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePath
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
    WrapValidator,
)
from pydantic_core import PydanticCustomError

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


def one_of(choices: Iterable[str]) -> str:
    """The choices in words."""
    return "one of " + ", ".join(f'"{choice}"' for choice in choices)


def _within(path: str) -> str:
    parts = PurePath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError("not inside")
    return path


_DTYPES = ("auto", "float32", "float16", "bfloat16", "float64")
_QUANTIZATIONS = ("int8", "nf4", "fp4")
_DEVICES = ("auto", "cpu", "cuda", "cuda:0", "mps")
_DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
_TOO_LONG = ("left", "middle", "error", "skip")
_COMPAT = ("lm-eval",)
_MODES = ("live", "batch")
_PROMPTS = ("auto", "text", "tokens")
_SCORING = ("auto", "echo", "prompt_logprobs", "next_token")
BARE = Field(strict=True)

Text: TypeAlias = Annotated[str, Field(strict=True, min_length=1), expects("text in quotes")]
AnyText: TypeAlias = Annotated[str, BARE, expects("text in quotes")]
Flag: TypeAlias = Annotated[bool, BARE, expects("true or false, without quotes")]
Count: TypeAlias = Annotated[int, Field(strict=True, ge=0), expects("a whole number, 0 or more")]
Positive: TypeAlias = Annotated[int, Field(strict=True, gt=0), expects("a whole number above 0")]
Limit: TypeAlias = Annotated[
    Annotated[int, Field(strict=True, gt=0)] | Annotated[float, Field(strict=True, gt=0, lt=1)],
    expects("a number of docs above 0, or a share of the docs between 0 and 1 such as 0.1"),
]
Dtype: TypeAlias = Annotated[
    Literal["auto", "float32", "float16", "bfloat16", "float64"], expects(one_of(_DTYPES), _DTYPES)
]
_Numbered: TypeAlias = Annotated[str, Field(strict=True, pattern=r"^cuda:[0-9]+$")]
Device: TypeAlias = Annotated[
    Literal["auto", "cpu", "cuda", "mps"] | _Numbered,
    expects(one_of(_DEVICES), _DEVICES),
]
BatchTokens: TypeAlias = Annotated[
    Literal["auto"] | Annotated[int, Field(strict=True, gt=0)],
    expects('"auto" or a whole number above 0 (tokens per batch)', ["auto"]),
]
Share: TypeAlias = Annotated[float, Field(strict=True, ge=0, le=1), expects("a number from 0 to 1")]
NotNegative: TypeAlias = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False), expects("a number, 0 or more")]
Texts: TypeAlias = Annotated[
    Annotated[str, BARE] | list[Annotated[str, BARE]], expects("text in quotes, or a list of texts")
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
    Annotated[bool, BARE]
    | Annotated[int, BARE]
    | Annotated[float, Field(strict=True, allow_inf_nan=False)]
    | Annotated[str, BARE]
)
Free: TypeAlias = Annotated[
    _FreeScalar | list[_FreeScalar], expects("text, a number, true or false, or a list of these")
]
Option: TypeAlias = Annotated[JsonValue, expects("text, a number, true or false, a list or a table")]
DeviceMap: TypeAlias = Annotated[
    Literal["auto", "balanced", "balanced_low_0", "sequential", "cpu", "cuda", "mps"]
    | _Numbered
    | dict[str, Annotated[str, BARE] | Annotated[int, BARE]],
    expects(one_of(_DEVICE_MAPS) + ", a device, or a table from module name to device", _DEVICE_MAPS),
]
MaxMemory: TypeAlias = Annotated[
    dict[
        Annotated[str, Field(pattern=r"^([0-9]+|cpu|mps|disk)$")],
        Annotated[str, Field(strict=True, pattern=r"(?i)^[0-9]+ *[kmgt]i?b$")]
        | Annotated[int, Field(strict=True, gt=0)],
    ],
    expects('a table from device (0, 1 …, "cpu") to bytes, or to text such as { 0 = "20GiB", cpu = "60GiB" }'),
]
FileWithin: TypeAlias = Annotated[
    str,
    Field(strict=True, min_length=1),
    AfterValidator(_within),
    expects('a path inside the folder or repository of the model, such as "model-q4_0.gguf"'),
]
Quantization: TypeAlias = Annotated[Literal["int8", "nf4", "fp4"], expects(one_of(_QUANTIZATIONS), _QUANTIZATIONS)]
Replicas: TypeAlias = Annotated[
    Literal["auto"] | Annotated[int, Field(strict=True, gt=0)],
    expects('"auto" or a whole number above 0 (copies of the model)', ["auto"]),
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
TooLong: TypeAlias = Annotated[Literal["left", "middle", "error", "skip"], expects(one_of(_TOO_LONG), _TOO_LONG)]

Mode: TypeAlias = Annotated[Literal["live", "batch"], expects(one_of(_MODES), _MODES)]
Prompts: TypeAlias = Annotated[Literal["auto", "text", "tokens"], expects(one_of(_PROMPTS), _PROMPTS)]
Scoring: TypeAlias = Annotated[
    Literal["auto", "echo", "prompt_logprobs", "next_token"], expects(one_of(_SCORING), _SCORING)
]
Seconds: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False), expects("a number of seconds above 0")]
Url: TypeAlias = Annotated[
    str, Field(strict=True, pattern=r"^https?://[^\s/]+"), expects('an address such as "http://127.0.0.1:8000/v1"')
]
Compat: TypeAlias = Annotated[Literal["lm-eval"], expects(one_of(_COMPAT), _COMPAT)]

ONE, MANY = "<one>", "<many>"


def _form(value: Any) -> str:
    return MANY if isinstance(value, list) else ONE


Axis: TypeAlias = Annotated[
    Annotated[T, Tag(ONE)] | Annotated[list[T], Field(min_length=1), Tag(MANY)], Discriminator(_form)
]
"""A value, or a list of values of which each makes a variant of the entry (a matrix axis)."""


class Section(BaseModel):
    """A table of a manifest: unknown keys refused, field docstrings kept."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
