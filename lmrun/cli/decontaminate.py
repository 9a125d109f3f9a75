"""``lmrun decontaminate``: which docs are in given corpora."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmrun.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lmrun.store.records import DecontaminationRecord


def decontaminate(
    name: Annotated[str, typer.Argument(metavar="MANIFEST|RUN", help="A manifest, or a run of one.")],
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            "--corpus", metavar="FILE", help="In place of the manifest's corpora; * is a wildcard. Repeatable."
        ),
    ] = None,
    limit: options.Limit = None,
    assignments: options.Set = None,
    mirror: options.Mirror = None,
    tasks_path: options.TasksPath = None,
    trust: options.Trust = False,
    offline: options.Offline = False,
    runs_dir: options.RunsDir = None,
    json: options.Json = False,
) -> None:
    """List the docs of a manifest's tasks that overlap with corpora.

    For each: the first n-gram that a corpus holds, the file and line of the first document with it, and how many
    documents hold it. No model is needed. With [decontaminate] in a manifest, a run scores these docs and the others
    apart.
    """
    from lmrun.engine.decontaminate import find_overlaps, manifest_of, sought_in
    from lmrun.engine.inputs import Overrides, open_manifest, open_sources
    from lmrun.engine.plan import plan_jobs
    from lmrun.store.runs import DEFAULT_RUNS_DIR

    overrides = Overrides(limit, tuple(tasks_path or ()), trust, mirror, offline, assignments=tuple(assignments or ()))
    manifest = open_manifest(manifest_of(name, runs_dir or DEFAULT_RUNS_DIR), overrides)
    sought = sought_in(manifest.decontaminate, tuple(map(Path, corpus or ())))
    jobs, _ = plan_jobs(manifest.tasks, open_sources(manifest))
    found = find_overlaps(jobs, sought)
    if json:
        _print_json(found)
    else:
        _print(found)


def _print_json(found: Mapping[str, DecontaminationRecord]) -> None:
    import dataclasses
    import json

    sys.stdout.write(json.dumps({label: dataclasses.asdict(record) for label, record in found.items()}) + "\n")


def _print(found: Mapping[str, DecontaminationRecord]) -> None:
    from lmrun.display.table import Column, Table

    table = Table(
        [Column("task"), Column("doc", right=True), Column("n-gram"), Column("corpus"), Column("documents", right=True)]
    )
    for label, record in found.items():
        for overlap in record.overlaps:
            table.add(label, overlap.doc_id, overlap.ngram, overlap.place, overlap.documents)
    if table.rows:
        table.show()
    for label, record in found.items():
        short = f"; {record.short:,} are shorter than that" if record.short else ""
        sys.stderr.write(f"{label}: {len(record.overlaps):,} of {record.docs:,} docs, by {record.ngram}-grams{short}\n")
