"""A run survives being killed at any moment: it is continued, loses at most one batch per kill, and ends the same.

``LMRUN_KILLS=20`` makes the proof run out of the quick one.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lmrun.bundled import demo_model_dir
from tests.faults.runs import BATCH, PATIENCE, Workload, kill, write_tasks

pytestmark = pytest.mark.timeout(3600)

QUICK = 3
IN_FLIGHT = 24
KILLS = int(os.environ.get("LMRUN_KILLS", QUICK))
DOCS = max(60, 12 * KILLS)
SCRIPTED = {"backend": "scripted", "model": "stub"}
DEMO = {"backend": "hf", "model": "bundled:demo", "device": "cpu", "dtype": "float32", "batch_tokens": 128}


@pytest.fixture(scope="module", params=["scripted", "demo"])
def model(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    if request.param == "scripted":
        return SCRIPTED
    if not (demo_model_dir() / "config.json").is_file():
        pytest.skip("there is no demo model here")
    pytest.importorskip("torch")
    return DEMO


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"), DOCS)


def test_killed_runs_end_like_an_uninterrupted_one(model: Mapping[str, Any], tasks: Path, tmp_path: Path) -> None:
    whole = Workload(tmp_path / "whole", model, tasks)
    start = whole.finish()
    total = whole.computed()

    killed = Workload(tmp_path / "killed", model, tasks)
    kills = _kill_and_resume(killed, total, KILLS if model is SCRIPTED or KILLS > QUICK else 1, start)
    assert killed.results() == whole.results()
    assert killed.samples() == whole.samples()

    assert killed.computed() == total, "an answer that is on disk is not asked again"
    repeated_batches = killed.batches() - whole.batches()
    assert 0 <= repeated_batches <= kills, f"{repeated_batches} batches computed twice after {kills} kills"
    if model is SCRIPTED:
        assert len(whole.asked()) == len(set(whole.asked())) == total
        assert len(set(killed.asked())) == total
        repeated = len(killed.asked()) - total
        assert repeated <= kills * BATCH, f"{repeated} requests computed twice after {kills} kills"


def test_killed_streams_end_like_an_uninterrupted_one_and_repeat_only_what_was_in_flight(
    tasks: Path, tmp_path: Path
) -> None:
    options = {"streaming": True, "in_flight": IN_FLIGHT, "chunk": BATCH, "latency_ms": 30}
    whole = Workload(tmp_path / "whole", SCRIPTED, tasks, options=options)
    start = whole.finish()
    total = whole.computed()
    killed = Workload(tmp_path / "killed", SCRIPTED, tasks, options=options)
    kills = _kill_and_resume(killed, total, max(5, KILLS), start)
    assert killed.results() == whole.results()
    assert killed.samples() == whole.samples()
    assert killed.computed() == total
    assert len(whole.asked()) == len(set(whole.asked())) == total
    assert len(set(killed.asked())) == total
    repeated = len(killed.asked()) - total
    assert repeated <= kills * IN_FLIGHT, f"{repeated} requests asked twice after {kills} kills"


def _kill_and_resume(work: Workload, total: int, kills: int, start: float) -> int:
    """Kill at random points of progress, and at random times while it starts; then let it finish. Returns the kills."""
    chance = random.Random(2024)
    for left in range(kills, 0, -1):
        before = work.computed()
        share = (total - before) // (left + 1)
        process = work.start()
        if chance.random() < 0.7:
            work.wait_for(process, before + chance.randint(1, max(1, share)))
            time.sleep(chance.uniform(0.0, 0.05))
        else:
            time.sleep(chance.uniform(0.05, 1.2 * start))
        assert kill(process), f"it was done before it could be killed {left} more times"
    work.finish()
    return kills


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_lets_a_stream_answer_what_is_in_flight(name: str, tasks: Path, tmp_path: Path) -> None:
    options = {"streaming": True, "in_flight": IN_FLIGHT, "chunk": BATCH, "latency_ms": 60}
    work = Workload(tmp_path / "run", SCRIPTED, tasks, options=options)
    process = work.start()
    work.wait_for(process, 1)
    process.send_signal(signal.Signals[name])
    assert process.wait(timeout=PATIENCE) == 130
    assert "were answered, 0 abandoned" in work.stderr() and "lmrun batch" in work.stderr()
    assert "Traceback" not in work.stderr()
    assert work.computed() == len(work.asked())
    work.finish()
    assert len(work.runs()) == 1
    assert len(work.asked()) == len(set(work.asked())), "nothing is asked twice"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_cleanly_and_says_how_to_go_on(name: str, tasks: Path, tmp_path: Path) -> None:
    work = Workload(tmp_path / "run", SCRIPTED, tasks, options={"chunk": BATCH, "latency_ms": 60})
    process = work.start()
    work.wait_for(process, 1)
    process.send_signal(signal.Signals[name])
    assert process.wait(timeout=PATIENCE) == 130
    assert "resume" in work.stderr().lower()
    assert "Traceback" not in work.stderr()
    before = work.computed()
    assert before > 0
    work.finish()
    assert len(work.runs()) == 1, "the second start continues the first"
    assert len(work.asked()) - len(set(work.asked())) <= BATCH


def test_two_runs_share_one_cache_at_the_same_time(tasks: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.db"
    works = [Workload(tmp_path / name, SCRIPTED, tasks, name, cache) for name in ("first", "second")]
    processes = [work.start() for work in works]
    codes = [process.wait(timeout=PATIENCE) for process in processes]
    assert codes == [0, 0], "\n".join(work.stderr()[-2000:] for work in works)
    assert works[0].results() == works[1].results()
    db = sqlite3.connect(cache)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    third = Workload(tmp_path / "third", SCRIPTED, tasks, "third", cache)
    third.finish()
    assert third.asked() == [], "what two runs have answered a third one does not ask"
    assert third.results() == works[0].results()
