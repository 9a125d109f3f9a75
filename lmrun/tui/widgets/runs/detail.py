"""One run in detail: what it asked whom, and what came out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from textual.content import Content

from lmrun.display.format import duration, job_name, number, spending
from lmrun.engine.remarks import job_flags
from lmrun.store.reader import RunReader
from lmrun.store.records import JobView, MetricRecord
from lmrun.tui.run_list import RunLine
from lmrun.tui.text import fit, one_line

_MUTED = "$foreground-muted"
_LABEL, _METRIC, _MODEL = 32, 12, 16
"""Cells for names, at most."""
_NEXT: Mapping[str, str] = MappingProxyType(
    {
        "complete": "everything is answered: there is nothing to resume",
        "incomplete": "R asks again what ended in errors",
        "interrupted": "R goes on with it: what has an answer is not asked again",
        "dead": "its engine is gone; R goes on with it: what has an answer is not asked again",
    }
)
"""By state, what can be done."""


def run_detail(line: RunLine, now: float) -> Content:
    """Everything about a run, read from its files; takes a while where it is large."""
    if line.summary is None:
        return _broken(line)
    reader = RunReader(line.run)
    try:
        lines = [*_facts(line, now), *_models(reader), Content(""), *_scores(reader)]
    finally:
        reader.close()
    return Content("\n").join(lines)


def _broken(line: RunLine) -> Content:
    return Content("\n").join(
        [
            Content.assemble(("✗ broken  ", "bold $text-error"), one_line(line.problem)),
            _path(line),
            Content.styled("D deletes it", _MUTED),
        ]
    )


def _facts(line: RunLine, now: float) -> Iterator[Content]:
    summary, seconds = line.summary, line.seconds(now)
    assert summary
    facts = [f"{line.mark} {line.status}", f"started {line.started:%Y-%m-%d %H:%M:%S}"]
    facts += [f"for {duration(seconds)}" if line.live else f"took {duration(seconds)}"] if seconds else []
    yield Content(" · ".join(facts))
    counts = [f"{summary.samples:,} samples", spending(summary.usd or 0.0, summary.tokens)]
    counts += [f"{summary.errors:,} errors"] if summary.errors else []
    yield Content(" · ".join(counts))
    yield Content.styled(_NEXT.get(line.status, "an engine works on it; enter watches it"), _MUTED)
    yield _path(line)


def _models(reader: RunReader) -> Iterator[Content]:
    for model in reader.models():
        source = model["model"] if model["model"] != model["name"] else ""
        parts: list[str | tuple[str, str]] = [(one_line(model["name"]), "bold")]
        parts.append((f"  {one_line(model['backend'])} {one_line(source)}", _MUTED))
        if model["error"]:
            parts.append((f"  ✗ {one_line(str(model['error'].get('message', '')))}", "$text-error"))
        yield Content.assemble(*parts)


def _scores(reader: RunReader) -> Iterator[Content]:
    """Tasks × models, then what to mind."""
    jobs = {(job.label, job.model): job for job in reader.jobs()}
    labels, models = (list(dict.fromkeys(names)) for names in zip(*jobs, strict=True)) if jobs else ([], [])
    width = min(_LABEL, max((len(job_name(label)) for label in labels), default=0))
    widths = [max(9, min(_MODEL, len(model))) for model in models]
    heads = "".join(f"  {fit(one_line(model), size, right=True)}" for model, size in zip(models, widths, strict=True))
    yield Content.styled(f"{fit('', width + _METRIC + 2)}{heads}", _MUTED)
    remarks = []
    for label in labels:
        row = [jobs.get((label, model)) for model in models]
        metrics = [reader.metrics(job.id)[:1] if job else [] for job in row]
        name = next((found[0].metric for found in metrics if found), "")
        words = [_remarks(job) if job else "" for job in row]
        cells = [
            f"  {fit(_value(job, found) + ('!' if mind else ' '), size, right=True)}"
            for job, found, mind, size in zip(row, metrics, words, widths, strict=True)
        ]
        said = [f"{one_line(model)} {mind}" for model, mind in zip(models, words, strict=True) if mind]
        remarks += [f"! {one_line(job_name(label))}: {'; '.join(said)}"] if said else []
        yield Content.assemble(
            fit(one_line(job_name(label)), width, middle=True),
            (f"  {fit(one_line(name), _METRIC)}", _MUTED),
            "".join(cells),
        )
    yield from (Content.styled(words, "$text-warning") for words in remarks)


def _value(job: JobView | None, found: Sequence[MetricRecord]) -> str:
    return number(found[0].value) if found else job.status.replace("_", " ") if job else ""


def _remarks(job: JobView) -> str:
    found = [f"{job.n_errors:,} errors"] if job.n_errors else []
    found += [one_line(str(job.error.get("message", "")))] if job.error else []
    return ", ".join([*found, *job_flags(job)])


def _path(line: RunLine) -> Content:
    return Content.styled(one_line(str(line.run.path)), _MUTED)
