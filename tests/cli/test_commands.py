"""The commands as a user types them, in a process of their own: what they print where, and how they end."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.engine.conftest import World, world

__all__ = ["world"]
ROOT = Path(__file__).parents[2]


def lmrun(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``lmrun`` in ``folder``, both ends of it pipes."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "lmrun", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_results_go_to_stdout_and_everything_else_to_stderr(world: World) -> None:
    done = lmrun(world.folder, "batch", str(world.manifest(world.stub())))
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["task", "version"] and lines[2].startswith("colours")
    assert "done: stub colours: acc" in done.stderr
    assert "lmrun show runs/" in done.stderr


def test_json_output_is_one_object_per_line(world: World) -> None:
    done = lmrun(world.folder, "batch", str(world.manifest(world.stub())), "--json")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["event"] for r in records if r["event"] != "progress"] == ["launch", "job", "done"]
    assert records[-1]["exit_code"] == 0
    assert records[-1]["results"][0]["metric"] == "acc"


def test_errors_end_with_1_and_say_how_to_look_at_them(world: World) -> None:
    done = lmrun(world.folder, "batch", str(world.manifest(world.stub(fail="colour 3"))))
    assert done.returncode == 1
    assert "(incomplete)" in done.stdout
    assert "1 sample is an error" in done.stderr
    shown = lmrun(world.folder, "show", "latest", "--errors", "--json")
    assert [json.loads(line)["doc_id"] for line in shown.stdout.splitlines()] == [3]


def test_retry_asks_only_what_failed_into_the_same_run(world: World) -> None:
    broken = world.folder / "broken"
    broken.touch()
    manifest = world.manifest(world.stub(fail="colour 3", fail_while=str(broken)))
    first = lmrun(world.folder, "batch", str(manifest))
    assert first.returncode == 1 and "lmrun retry runs/" in first.stderr
    assert "ask the failed sample again" in first.stderr
    still = lmrun(world.folder, "retry")
    assert still.returncode == 1
    broken.unlink()
    asked = len(world.calls())
    manifest.unlink()
    again = lmrun(world.folder, "retry", "latest")
    assert again.returncode == 0, again.stderr
    assert len(world.calls()) - asked == 3
    assert len(list((world.folder / "runs").glob("*/run.db"))) == 1
    assert "(incomplete)" not in again.stdout and "colours" in again.stdout
    assert lmrun(world.folder, "retry", "latest").returncode == 0
    assert len(world.calls()) - asked == 3, "nothing is left to ask"


def test_retry_refuses_a_run_whose_tasks_have_changed(world: World) -> None:
    lmrun(world.folder, "batch", str(world.manifest(world.stub(fail="colour 3"))))
    task = world.folder / "tasks" / "colours.yaml"
    task.write_text(task.read_text().replace("Q: ", "Question: "))
    done = lmrun(world.folder, "retry")
    assert done.returncode == 2
    assert "have changed since" in done.stderr and "lmrun verify" in done.stderr


def test_errors_that_come_again_are_not_to_be_asked_again(world: World) -> None:
    done = lmrun(world.folder, "batch", str(world.manifest(world.stub(fail="colour", fail_kind="http_400"))))
    assert done.returncode == 1
    assert "http_400 (10): asking again gives the same" in done.stderr
    assert "lmrun retry" not in done.stderr


def test_show_filters_samples(world: World) -> None:
    lmrun(world.folder, "batch", str(world.manifest(world.stub())))
    wrong = lmrun(world.folder, "show", "--wrong", "--json", "-n", "100").stdout.splitlines()
    right = lmrun(world.folder, "show", "--correct", "--json", "-n", "100").stdout.splitlines()
    both = lmrun(world.folder, "show", "--wrong", "--correct", "--json", "-n", "100").stdout.splitlines()
    assert len(wrong) + len(right) == len(both) == 10
    assert all(json.loads(line)["correct"] is False for line in wrong)
    one = lmrun(world.folder, "show", "--sample", "4")
    assert "colours · doc 4 · stub" in one.stdout and "Q: colour 4?" in one.stdout
    assert one.stdout.count("→") == 1
    misspelt = lmrun(world.folder, "show", "--task", "colors")
    assert misspelt.returncode == 2 and "did you mean 'colours'?" in misspelt.stderr


def test_show_opens_the_samples_on_a_terminal(world: World) -> None:
    lmrun(world.folder, "batch", str(world.manifest(world.stub())))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lmrun", "show", "--task", "colours", "--correct"]
    running = subprocess.Popen(command, cwd=world.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        seen = b""
        while b"task:colours right" not in seen:
            assert select.select([ours], [], [], 60)[0], seen[-500:]
            seen += os.read(ours, 65536)
        os.write(ours, b"q")
        while running.poll() is None:
            if select.select([ours], [], [], 0.05)[0]:
                with suppress(OSError):
                    os.read(ours, 65536)
        assert running.returncode == 0
    finally:
        running.kill()
        running.wait()
        os.close(ours)


def test_text_of_models_and_datasets_cannot_act_on_the_terminal(world: World) -> None:
    data = world.folder / "tasks" / "colours.jsonl"
    data.write_text(data.read_text().replace("colour 3?", "\\u001b[31mred\\u0007\\u202e?"))
    lmrun(world.folder, "batch", str(world.manifest(world.stub())))
    shown = lmrun(world.folder, "show", "--sample", "3")
    assert "\x1b" not in shown.stdout and "\x07" not in shown.stdout and "\u202e" not in shown.stdout
    assert "␛red␇" in shown.stdout


def test_plan_counts_what_is_left_to_ask(world: World) -> None:
    manifest = str(world.manifest(world.stub()))
    before = json.loads(lmrun(world.folder, "plan", manifest, "--json").stdout)
    (job,) = before["jobs"]
    assert (job["requests"], job["cached"], job["to_ask"]) == (30, 0, 30)
    lmrun(world.folder, "batch", manifest, "--limit", "4")
    after = json.loads(lmrun(world.folder, "plan", manifest, "--json").stdout)
    assert (after["total"]["cached"], after["total"]["to_ask"]) == (12, 18)


def test_preview_prints_the_requests_of_a_task(world: World) -> None:
    done = lmrun(world.folder, "preview", "--task", "tasks/colours.yaml", "-n", "1", "--json")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["continuation"] for r in records] == [" red", " green", " blue"]
    keys = ["task", "doc_id", "request_index", "type", "context", "continuation", "generation"]
    assert all(list(r) == keys for r in records)
    assert records[0]["context"] == "Q: colour 0?\nA:"


def test_cache_commands(world: World) -> None:
    lmrun(world.folder, "batch", str(world.manifest(world.stub())))
    (row,) = json.loads(lmrun(world.folder, "cache", "stats", "--json").stdout)
    assert (row["model"], row["responses"]) == ("stub", 30)
    assert lmrun(world.folder, "cache", "verify").stdout == "runs/cache.db: ok\n"
    assert lmrun(world.folder, "cache", "prune", "--model", "stub").stdout == "30 answers deleted\n"
    assert lmrun(world.folder, "cache", "prune").returncode == 2


def test_listings(world: World) -> None:
    lmrun(world.folder, "batch", str(world.manifest(world.stub())))
    for kind, name in (("runs", "m-"), ("models", "stub"), ("backends", "scripted"), ("metrics", "exact_match")):
        assert name in lmrun(world.folder, "ls", kind).stdout
    tasks = json.loads(lmrun(world.folder, "ls", "tasks", "colours", "--tasks-path", "tasks", "--json").stdout)
    assert [(t["name"], t["type"]) for t in tasks] == [("colours", "multiple_choice")]


def test_init_writes_a_manifest_that_is_sound_and_never_overwrites(world: World) -> None:
    made = lmrun(world.folder, "init", "new/my.toml", "--backend", "scripted", "--model", "x", "--task", "demo_facts")
    assert made.returncode == 0
    assert lmrun(world.folder, "validate", "new/my.toml").stdout.endswith("new/my.toml: ok\n")
    again = lmrun(world.folder, "init", "new/my.toml")
    assert again.returncode == 2 and "exists already" in again.stderr


def test_validate_lists_all_problems_at_once(world: World) -> None:
    path = world.manifest(world.stub(), tasks='[[tasks]]\nname = "colors"\n[[tasks]]\nname = "speach"\n')
    done = lmrun(world.folder, "validate", str(path), "--tasks-path", "tasks")
    assert done.returncode == 2
    assert "m.toml:6:1: there is no task, group or tag 'colors'" in done.stdout
    assert "did you mean 'speech'?" in done.stdout
    assert "2 problems" in done.stdout


def test_wrong_keys_do_not_hide_wrong_names_of_tasks(world: World) -> None:
    tasks = '[[tasks]]\nname = "colurs"\nnum_fewshots = 1\n'
    path = world.manifest(world.stub(), tasks=tasks)
    done = lmrun(world.folder, "validate", str(path), "--tasks-path", "tasks")
    assert done.returncode == 2
    assert "m.toml:6:1: there is no task, group or tag 'colurs'" in done.stdout
    assert "m.toml:8:1: unknown key `num_fewshots`" in done.stdout
    missing = lmrun(world.folder, "validate", str(path), "--tasks-path", "nowhere")
    assert missing.returncode == 2 and "unknown key `num_fewshots`" in missing.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["batch"], "Missing argument"),
        (["batch", "nowhere.toml"], "there is no manifest 'nowhere.toml'"),
        (["batch", "m.toml", "--limit", "-1"], "--limit -1"),
        (["show", "nothing"], "no run 'nothing'"),
        (["cache", "stats", "--cache", "none.db"], "there is no cache none.db"),
        (["preview"], "give either a manifest or --task"),
        (["bach"], "No such command 'bach'"),
        (["batch", "m.toml", "--mirror", "nowhere"], "nowhere"),
        (["ls", "tasks", "--tasks-path", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_told_in_a_few_lines(world: World, words: list[str], message: str) -> None:
    world.manifest(world.stub())
    done = lmrun(world.folder, *words)
    assert done.returncode in (2, 3)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_a_reader_that_stops_early_is_no_error(world: World) -> None:
    lmrun(world.folder, "batch", str(world.manifest(world.stub())))
    command = f"{sys.executable} -m lmrun show --wrong --correct -n 100 --json | head -n 1"
    done = subprocess.run(
        command,
        shell=True,
        cwd=world.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_doctor_looks_at_this_machine(world: World) -> None:
    findings = {f["what"]: f for f in json.loads(lmrun(world.folder, "doctor", "--json").stdout)}
    assert {"lmrun", "Python", "SQLite", "runs folder", "bundled files"} <= findings.keys()
    assert findings["SQLite"]["state"] == "ok"
