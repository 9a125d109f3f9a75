"""What to know of a job in a few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lmrun.store.records import JobView, MetricRecord

DOUBT_LIMIT = 0.01
"""Above this share of answers that were cut off, or refused, a score is flagged."""


def rate(count: int, total: int) -> float:
    """A share; 0 of nothing is 0."""
    return count / total if total else 0.0


def flags(truncated: int, refused: int, docs: int) -> tuple[str, ...]:
    """What makes a score doubtful."""
    counts = {"truncated": truncated, "refused": refused}
    return tuple(name for name, count in counts.items() if rate(count, docs) > DOUBT_LIMIT)


def job_flags(job: JobView) -> tuple[str, ...]:
    """What makes the scores of a job doubtful."""
    return flags(job.n_truncated, job.n_refused, job.n_docs)


def remarks(docs: int, truncated: int, refused: int, extractions: Mapping[str, Mapping[str, int]]) -> str:
    """What to know of a job's scores, e.g. ``truncated 3.0%, no match 12.0% (strict-match)``; empty if all is well."""
    counts = {"truncated": truncated, "refused": refused}
    words = [f"{name} {rate(count, docs):.1%}" for name, count in counts.items() if count]
    for status, name in (("no_match", "no match"), ("ambiguous", "ambiguous")):
        for pipeline, found in extractions.items():
            if count := found.get(status, 0):
                words.append(f"{name} {rate(count, sum(found.values())):.1%} ({pipeline})")
    return ", ".join(words)


def headline(metrics: Sequence[MetricRecord]) -> str:
    """The first metric of a job in a few words, e.g. ``acc 0.5200 ± 0.0502``."""
    if not metrics:
        return ""
    first = metrics[0]
    value = f"{first.value:.4f}" if isinstance(first.value, int | float) else str(first.value)
    return f"{first.metric} {value}" + (f" ± {first.stderr:.4f}" if isinstance(first.stderr, float) else "")
