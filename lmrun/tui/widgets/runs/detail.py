"""One run in detail: what it asked whom, and what came out."""

from __future__ import annotations

from collections.abc import Iterator

from textual.content import Content

from lmrun.display.format import duration, spending
from lmrun.engine.results import headline, job_flags
from lmrun.store.reader import RunReader
from lmrun.store.records import JobView
from lmrun.tui.run_list import RunLine
from lmrun.tui.text import fit, one_line

_MUTED = "$foreground-muted"
_LABEL = 40
"""Cells for the name of a task, at most."""


def run_detail(line: RunLine, now: float) -> Content:
    """Everything about a run, read from its files; takes a while where it is large."""
    if line.summary is None:
        return _broken(line)
    reader = RunReader(line.run)
    try:
        lines = [_facts(line, now), *_models(reader), Content(""), *_scores(reader), Content("")]
    finally:
        reader.close()
    return Content("\n").join([*lines, *_footer(line)])


def _broken(line: RunLine) -> Content:
    return Content("\n").join(
        [
            Content.assemble(("✗ broken  ", "bold $text-error"), one_line(line.problem)),
            *_path(line),
            Content.styled("D deletes it", _MUTED),
        ]
    )


def _facts(line: RunLine, now: float) -> Content:
    summary, seconds = line.summary, line.seconds(now)
    assert summary
    facts = [f"{line.mark} {line.status}", f"started {line.started:%Y-%m-%d %H:%M:%S}"]
    facts += [f"took {duration(seconds)}" if not line.live else f"for {duration(seconds)}"] if seconds else []
    facts += [f"{summary.samples:,} samples", spending(summary.usd or 0.0, summary.tokens)]
    facts += [f"{summary.errors:,} errors"] if summary.errors else []
    return Content(" · ".join(facts))


def _models(reader: RunReader) -> Iterator[Content]:
    for model in reader.models():
        source = model["model"] if model["model"] != model["name"] else ""
        parts: list[str | tuple[str, str]] = [(one_line(model["name"]), "bold")]
        parts.append((f"  {one_line(model['backend'])} {one_line(source)}", _MUTED))
        if model["error"]:
            parts.append((f"  ✗ {one_line(str(model['error'].get('message', '')))}", "$text-error"))
        yield Content.assemble(*parts)


def _scores(reader: RunReader) -> Iterator[Content]:
    jobs = reader.jobs()
    width = min(_LABEL, max((len(job.label) for job in jobs), default=0))
    models = list(dict.fromkeys(job.model for job in jobs))
    for job in jobs:
        name = fit(one_line(job.label), width)
        model = f"  {fit(one_line(job.model), min(16, max(map(len, models))))}" if len(models) > 1 else ""
        words, remarks = _score(reader, job)
        yield Content.assemble(name, (model, _MUTED), f"  {words}", (remarks, "$text-warning"))


def _score(reader: RunReader, job: JobView) -> tuple[str, str]:
    """The first score of a job, or how far it is; and what to mind."""
    words = one_line(headline(reader.metrics(job.id))) or job.status.replace("_", " ")
    found = [f"{job.n_errors} errors"] if job.n_errors else []
    if job.error:
        found.append(one_line(str(job.error.get("message", ""))))
    found += job_flags(job)
    return words, f"  ! {', '.join(found)}" if found else ""


def _footer(line: RunLine) -> Iterator[Content]:
    yield from _path(line)
    words = {
        "complete": "everything is answered: there is nothing to resume",
        "incomplete": "R asks again what ended in errors",
        "interrupted": "R goes on with it: what has an answer is not asked again",
        "dead": "its engine is gone; R goes on with it: what has an answer is not asked again",
    }
    yield Content.styled(words.get(line.status, "an engine works on it; enter watches it"), _MUTED)


def _path(line: RunLine) -> Iterator[Content]:
    yield Content.styled(one_line(str(line.run.path)), _MUTED)
