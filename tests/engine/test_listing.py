"""Runs in a folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from benchmarks.tuibench.make import CREATED, make_run
from lmrun.engine.alive import is_live
from lmrun.engine.listing import run_summaries
from tests.engine.conftest import World


def test_a_summary_of_a_run(tmp_path: Path) -> None:
    run = make_run(tmp_path, 100, 4)
    (found,) = run_summaries(tmp_path)
    assert (found.run, found.name, found.status, found.live) == (run, "made", "complete", False)
    assert (found.created, found.finished) == (CREATED, CREATED + 3600)
    assert (found.models, found.jobs, found.samples, found.errors) == (["qwen3-8b", "gpt-5-mini"], 4, 100, 0)
    assert found.headline == "mmlu_000 acc 0.5000 ± 0.0100"
    assert found.tokens > 10_000


def test_what_a_real_run_took(world: World) -> None:
    outcome = world.run(world.manifest(world.stub()))
    (found,) = run_summaries(world.folder / "runs")
    assert found.run == outcome.directory
    assert (found.samples, found.usd) == (10, 0.0)
    assert found.headline.startswith("colours acc 0.")


def test_a_run_without_scores_has_no_headline(tmp_path: Path) -> None:
    make_run(tmp_path, 10, 2, scored=False)
    (found,) = run_summaries(tmp_path)
    assert (found.headline, found.finished, found.status) == ("", None, "running")


@pytest.mark.parametrize(
    ("facts", "live"),
    [
        ({"status": "running", "host": socket.gethostname(), "pid": os.getpid()}, True),
        ({"status": "running", "host": socket.gethostname(), "pid": 2**22 + 1}, False),
        ({"status": "running", "host": socket.gethostname()}, False),
        ({"status": "running", "host": "elsewhere", "pid": 1}, True),
        ({"status": "complete", "host": socket.gethostname(), "pid": os.getpid()}, False),
        ({}, False),
    ],
)
def test_who_works_on_a_run(facts: dict[str, object], live: bool, tmp_path: Path) -> None:
    assert is_live(make_run(tmp_path, 10, 2), facts) is live
