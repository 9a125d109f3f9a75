"""``lmrun preview``: the exact prompts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lmrun.cli import options

if TYPE_CHECKING:
    from lmrun.engine.plan import PlannedJob


def preview(
    manifest: Annotated[str | None, typer.Argument(metavar="[MANIFEST]", help="A manifest, unless --task.")] = None,
    task: Annotated[list[str] | None, typer.Option("--task", metavar="T", help="A task instead of a manifest.")] = None,
    n: Annotated[int, typer.Option("-n", metavar="N", help="Docs per task.")] = 3,
    num_fewshot: Annotated[int | None, typer.Option("--num-fewshot", metavar="K", help="Few-shot examples.")] = None,
    assignments: options.Set = None,
    mirror: options.Mirror = None,
    tasks_path: options.TasksPath = None,
    trust: options.Trust = False,
    offline: options.Offline = False,
    json: options.Json = False,
) -> None:
    """Print the exact prompts, without a model.

    --json gives one object per request: task, doc_id, request_index, type, context, continuation, generation.
    """
    from lmrun.engine.inputs import Overrides
    from lmrun.engine.preview import preview_jobs

    if (manifest is None) == (not task):
        raise typer.BadParameter("give either a manifest or --task", param_hint="MANIFEST")
    overrides = Overrides(None, tuple(tasks_path or ()), trust, mirror, offline, assignments=tuple(assignments or ()))
    for job in preview_jobs(manifest, tuple(task or ()), num_fewshot, overrides):
        _print(job, n, json=json)


def _print(job: PlannedJob, n: int, *, json: bool) -> None:
    from lmrun.display.format import safe
    from lmrun.display.prompts import request_lines, request_text

    for warning in job.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    renderer = job.task.renderer(job.prompts)
    for doc_id, doc in job.task.eval_docs(n):
        requests = renderer.render(doc_id, doc)
        if json:
            sys.stdout.writelines(line + "\n" for line in request_lines(job.label, doc_id, requests))
        else:
            sys.stdout.write(safe(request_text(job.label, doc_id, requests)))
