"""The results of a run on paper: the final table, the words after it, and the same as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmrun.display.format import brief, dollars, duration, number, safe, share, spending
from lmrun.display.table import Column, Style, Table
from lmrun.engine.failures import LASTING
from lmrun.engine.remarks import job_flags
from lmrun.engine.results import ResultRow, SubsetScore, result_rows
from lmrun.engine.usage import usage_as_json, usage_by_model
from lmrun.requests import strict_json
from lmrun.store.reader import RunReader
from lmrun.store.records import JobView

_COLUMNS = (
    Column("model"),
    Column("task"),
    Column("version", right=True, spare=6),
    Column("filter"),
    Column("n-shot", right=True, spare=2),
    Column("prompt", spare=3),
    Column("metric"),
    Column(""),
    Column("value", right=True),
    Column("± stderr", right=True),
    Column("95% interval", spare=5),
    Column("n", right=True, spare=1),
    Column("clean (n)", right=True),
    Column("dirty (n)", right=True),
    Column("errors", right=True),
    Column("skipped", right=True),
    Column("cut", right=True),
    Column("truncated", right=True),
    Column("refused", right=True),
    Column("no match", right=True),
    Column("ambiguous", right=True),
    Column("cached", right=True, spare=4),
)


def results_table(reader: RunReader) -> Table:
    """One line per metric, groups above their members. What is not there (errors, truncation …) takes no room."""
    table = Table(_COLUMNS)
    several = len(reader.models()) > 1
    last: tuple[str, str] | None = None
    for row in result_rows(reader):
        first = (row.model, row.label) != last
        last = (row.model, row.label)
        table.add(*_cells(row, first=first, several=several), style=_style(row))
    return table


def show_results(reader: RunReader) -> None:
    """Write the table to stdout; a run without any score has none."""
    table = results_table(reader)
    if table.rows:
        table.show()


def _style(row: ResultRow) -> Style:
    return "yellow" if row.errors or row.flags else "bold" if row.is_group else ""


def _cells(row: ResultRow, *, first: bool, several: bool) -> list[str]:
    arrow = "" if row.higher_is_better is None else "↑" if row.higher_is_better else "↓"
    interval = f"[{number(row.interval[0])}, {number(row.interval[1])}]" if row.interval else ""
    counts = (row.errors, row.skipped, row.dropped)
    return [
        (row.model if several else "") if first else "",
        "  " * row.depth + row.alias if first else "",
        str(row.version) if first else "",
        row.filter,
        "" if row.num_fewshot is None or not first else str(row.num_fewshot),
        row.prompt if first else "",
        row.metric,
        arrow,
        number(row.value) + (" (incomplete)" if row.errors else ""),
        number(row.stderr) if isinstance(row.stderr, float) else "",
        interval,
        f"{row.n:,}" if row.n else "",
        _subset(row.clean),
        _subset(row.dirty),
        *(f"{count:,}" if count and first else "" for count in counts),
        share(row.truncated_rate) if first else "",
        share(row.refused_rate) if first else "",
        share(row.no_match_rate),
        share(row.ambiguous_rate),
        f"{row.cache_hits / row.requests:.0%}" if first and row.cache_hits else "",
    ]


def _subset(score: SubsetScore | None) -> str:
    return f"{number(score.value)} ({score.n:,})" if score else ""


def closing_words(reader: RunReader) -> str:
    """What to know and what to do next, after the table."""
    info, jobs = reader.info(), reader.jobs()
    lines = []
    for model in reader.models():
        if model["error"]:
            lines.append(f"model {model['name']} failed: {_with_hint(model['error'])}")
    lines.extend(_failures(jobs))
    lines.extend(_error_words(reader))
    dirty = sum(len(found.overlaps) for found in reader.decontamination().values())
    if dirty:
        lines.append(f"{dirty:,} docs overlap with the corpora: lmrun decontaminate {reader.run.path}")
    lines.extend(_doubts(reader, jobs))
    cut, skipped = sum(job.n_dropped for job in jobs), sum(job.n_skipped for job in jobs)
    if cut:
        lines.append(f"{cut:,} prompts did not fit and were cut: lmrun show {reader.run.path} --truncated")
    if skipped:
        lines.append(
            f"{skipped:,} samples were left out because their prompts did not fit; scores are of the others: "
            f"lmrun show {reader.run.path} --truncated"
        )
    lines.extend(_spent(reader))
    if info.get("status") != "interrupted":  # what that means is told apart, by interrupted_words
        lines.append(f"{info.get('status', '?')}{_took(info)}: {reader.run.path}")
    if any(job.n_scored for job in jobs):
        lines.append(f"look at samples: lmrun show {reader.run.path} --wrong")
    return safe("".join(f"{line}\n" for line in lines))  # some words are those of a server


def _took(info: Mapping[str, Any]) -> str:
    if "finished" not in info or "created" not in info:
        return ""
    took = duration(info["finished"] - info["created"])
    # Nobody worked on it in between.
    return f", {took} after it was begun" if info.get("resumed") else f" in {took}"


def _failures(jobs: Sequence[JobView]) -> Iterator[str]:
    """Jobs that failed, those for one reason in one line."""
    alike: dict[tuple[str, str], list[str]] = {}
    for job in jobs:
        if job.error:
            alike.setdefault((job.model, _with_hint(job.error)), []).append(job.label)
    for (model, message), labels in alike.items():
        more = f" and {len(labels) - 1:,} more" if len(labels) > 1 else ""
        yield f"{model} {labels[0]}{more} failed: {message}"


def _with_hint(error: Mapping[str, Any]) -> str:
    return f"{error['message']}\n  hint: {error['hint']}" if error.get("hint") else str(error["message"])


def _spent(reader: RunReader) -> Iterator[str]:
    """What each model took that is paid for."""
    for name, usage in usage_by_model(reader).items():
        tokens = usage.tokens
        if not (usage.paid and tokens.total):
            continue
        cached = f" ({brief(tokens.cached)} of them cached)" if tokens.cached else ""
        reasoning = f" ({brief(tokens.reasoning)} of them reasoning)" if tokens.reasoning else ""
        cost = "no price known" if usage.usd is None else f"{dollars(usage.usd)} USD"
        prompts = f"{brief(tokens.input)} prompt tokens{cached}"
        yield f"{name}: {cost} for {prompts} and {brief(tokens.output)} new{reasoning}"


def _doubts(reader: RunReader, jobs: Sequence[JobView]) -> Iterator[str]:
    for job in jobs:
        if "truncated" in job_flags(job):
            yield (
                f"{job.model} {job.label}: {job.n_truncated:,} of {job.n_docs:,} answers were cut off at the token "
                f"limit; a larger max_gen_toks may help: lmrun show {reader.run.path} --truncated"
            )
        if "refused" in job_flags(job):
            yield (
                f"{job.model} {job.label}: {job.n_refused:,} of {job.n_docs:,} answers were refused by the model or "
                f"its provider: lmrun show {reader.run.path} --refused"
            )


def _error_words(reader: RunReader) -> Iterator[str]:
    """How many samples are errors, and whether asking again can help."""
    kinds = reader.errors()
    errors, final = sum(kinds.values()), {kind: count for kind, count in kinds.items() if kind in LASTING}
    if not errors:
        return
    subject = "1 sample is an error and" if errors == 1 else f"{errors:,} samples are errors and"
    yield f"{subject} no part of any score: lmrun show {reader.run.path} --errors"
    for kind, count in final.items():
        yield f"{kind} ({count:,}): asking again gives the same; {LASTING[kind]}"
    if passing := errors - sum(final.values()):
        failed = "the failed sample" if passing == 1 else f"the {passing:,} {'other ' * bool(final)}failed samples"
        yield f"ask {failed} again: lmrun retry {reader.run.path}"


def interrupted_words(reader: RunReader, again: str) -> str:
    """What is safe, where it is, and how to go on: ``again``."""
    jobs, info = reader.jobs(), reader.info()
    scored = sum(job.status == "scored" for job in jobs)
    answers = sum(job.requests for job in jobs)
    kept = f"{answers:,} answers kept, {scored} of {len(jobs)} jobs scored: {reader.run.path}"
    if key := info.get("stopped"):
        usages = usage_by_model(reader).values()
        spent = spending(sum(usage.usd or 0.0 for usage in usages), sum(usage.tokens.total for usage in usages))
        left = f"{reader.unanswered():,} requests left to ask"
        return f"stopped at {key} = {info[key]:,}: {spent} spent, {left}\n{kept}\nraise {key} and {again}\n"
    words = [f"interrupted with {kept}"]
    if in_flight := info.get("in_flight"):
        drained, abandoned = in_flight.get("drained", 0), in_flight.get("abandoned", 0)
        words.append(
            f"of the requests on their way {drained:,} were answered, {abandoned:,} abandoned and will be asked again"
        )
    return "\n".join([*words, again]) + "\n"


def results_json(reader: RunReader, exit_code: int | None = None) -> str:
    """The whole outcome as one JSON line; ``exit_code`` is that of the batch, if it just ended."""
    rows = [dataclasses.asdict(row) for row in result_rows(reader)]
    return strict_json(
        {
            "event": "done",
            "run": reader.run.id,
            "path": str(reader.run.path),
            "exit_code": exit_code,
            "status": reader.info().get("status"),
            "usage": {name: usage_as_json(usage) for name, usage in usage_by_model(reader).items()},
            "results": rows,
        }
    )
