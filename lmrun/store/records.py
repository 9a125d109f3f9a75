"""The rows of a run as values: what the engine writes and what the faces read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from lmrun.requests import Request, Response
from lmrun.store.notes import Note

JobStatus = Literal["pending", "rendered", "looked_up", "answered", "scored", "failed"]
Subset = Literal["clean", "dirty"]
"""Docs that are in none of the corpora, and those that overlap with one."""
ModelStatus = Literal["pending", "running", "done", "failed"]
Source = Literal["computed", "cache", "error"]


class Tokens(NamedTuple):
    """Tokens as a provider charges for them."""

    input: int = 0
    cached: int = 0
    """Of the input."""
    output: int = 0
    """Generated; where a model scores on this machine, scored."""
    reasoning: int = 0
    """Of the output."""

    @classmethod
    def of(cls, response: Response) -> Tokens:
        """What an answer took."""
        return cls(
            response.prompt_tokens, response.cached_tokens, response.completion_tokens, response.reasoning_tokens
        )

    @property
    def total(self) -> int:
        """Input and output."""
        return self.input + self.output

    def __add__(self, other: Tokens) -> Tokens:  # type: ignore[override]
        return Tokens(
            self.input + other.input,
            self.cached + other.cached,
            self.output + other.output,
            self.reasoning + other.reasoning,
        )

    def __sub__(self, other: Tokens) -> Tokens:
        return Tokens(
            self.input - other.input,
            self.cached - other.cached,
            self.output - other.output,
            self.reasoning - other.reasoning,
        )


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One model x one task setting, as recorded when the run was planned."""

    label: str
    task: str
    alias: str
    version: Any
    num_fewshot: int
    output_type: str
    setting: Mapping[str, Any]
    config: Mapping[str, Any]
    scoring: Mapping[str, Any]
    task_hash: str
    datasets: Mapping[str, str]
    n_docs_total: int
    n_docs: int


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """One doc with its requests, ready to be stored."""

    doc_id: int
    doc: Mapping[str, Any]
    target: Any
    text: Any
    choices: Sequence[str] | None
    requests: Sequence[tuple[int, int, str, Request]]
    """(position, repeat, content key, request)"""
    error: Mapping[str, str] | None = None
    """Why the doc could not be rendered."""


@dataclass(frozen=True, slots=True)
class AnsweredSample:
    """A stored sample with all its responses, ready to be scored."""

    id: int
    doc_id: int
    doc: Mapping[str, Any]
    target: Any
    text: Any
    choices: Sequence[str] | None
    responses: Sequence[Sequence[Response]]
    """Outer: requests of the doc in order; inner: repeats."""
    error: Mapping[str, str] | None
    """The first error among the responses, or of rendering."""


@dataclass(frozen=True, slots=True)
class ScoreRecord:
    """The score of one sample under one filter."""

    filter: str
    filtered: Any
    metrics: Mapping[str, Any]
    extraction: str | None
    span: Sequence[int] | None
    correct: bool | None


@dataclass(frozen=True, slots=True)
class SampleOutcome:
    """What scoring says of one sample."""

    sample_id: int
    scores: Sequence[ScoreRecord]
    correct: bool | None = None
    truncated: bool = False
    refused: bool = False
    dropped: int = 0
    no_match: bool = False
    skipped: bool = False
    """Left out, as the manifest wants it: neither scored nor an error."""
    error: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class MetricRecord:
    """One aggregated value of a job."""

    metric: str
    filter: str
    value: Any
    stderr: Any
    interval: Sequence[float] | None
    n: int
    higher_is_better: bool | None


@dataclass(frozen=True, slots=True)
class OverlapRecord:
    """A doc that overlaps with a corpus."""

    doc_id: int
    ngram: str
    """The first n-gram of the doc that a corpus holds."""
    place: str
    """``file:line`` of the first document of the corpus that holds it."""
    documents: int
    """How many documents of the corpus hold it."""
    ngrams: int
    """How many n-grams of the doc are in the corpus."""


@dataclass(frozen=True, slots=True)
class DecontaminationRecord:
    """What looking for the docs of a job in the corpora gave."""

    ngram: int
    """So many words in a row make an overlap."""
    docs: int
    short: int
    """Docs of fewer words, which cannot overlap."""
    overlaps: Sequence[OverlapRecord]
    """One for each dirty doc, in order."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as the faces see it."""

    id: int
    model: str
    label: str
    task: str
    alias: str
    version: Any
    num_fewshot: int
    output_type: str
    status: JobStatus
    error: Mapping[str, str] | None
    n_docs_total: int
    n_docs: int
    n_scored: int
    n_errors: int
    n_skipped: int
    n_truncated: int
    n_refused: int
    n_dropped: int
    requests: int
    """Distinct requests first asked by this job."""
    cache_hits: int
    datasets: Mapping[str, str] = field(default_factory=dict)
    task_hash: str = ""
    prompt_hash: str | None = None
    setting: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    scoring: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group of one model, as recorded."""

    model: str
    label: str
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A line of the sample list."""

    id: int
    model: str
    label: str
    doc_id: int
    status: str
    correct: bool | None
    truncated: bool
    refused: bool
    dropped: int
    no_match: bool
    error: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request of a sample with its response, as stored."""

    position: int
    repeat: int
    key: str
    request: Request
    response: Response | None
    source: Source | None


@dataclass(frozen=True, slots=True)
class SampleDetail:
    """Everything that is known of one sample."""

    row: SampleRow
    doc: Mapping[str, Any]
    target: Any
    choices: Sequence[str] | None
    exchanges: Sequence[Exchange]
    scores: Sequence[ScoreRecord]
    note: Note | None = None
    """What somebody has to say of it."""
    text: Any = None
    """``doc_to_text``: an index where it names the right choice."""
