"""A run from manifest to results: caching, resuming, errors, failing models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest

from lmrun.backends.base import Chunk
from lmrun.backends.generation import normalise
from lmrun.cli.show import show
from lmrun.display.report import closing_words
from lmrun.engine.check import check_manifest
from lmrun.engine.inputs import Overrides, open_manifest, open_sources
from lmrun.engine.plan import build_plan
from lmrun.engine.progress import Tracker
from lmrun.engine.rescore import current_scoring, rescore
from lmrun.errors import BackendError, ExitCode, TaskError
from lmrun.requests import Request
from lmrun.store.reader import RunReader, SampleQuery
from lmrun.testing.scripted import ScriptedBackend
from tests.engine.conftest import World, complete

BOTH = '[[tasks]]\nname = ["colours", "speech"]\n'


def test_a_run_leaves_what_the_contract_says(world: World) -> None:
    outcome = world.run(world.manifest(world.stub()))
    assert complete(outcome)
    folder = outcome.directory.path
    assert {p.name for p in folder.iterdir()} >= {"manifest.toml", "lock.json", "run.db", "results", "log.jsonl"}
    results = json.loads((folder / "results" / "stub.json").read_text())
    assert results["results"]["colours"]["sample_len"] == 10
    assert results["n-samples"]["colours"] == {"original": 10, "effective": 10}
    assert results["versions"]["colours"] == 1.0
    assert {"acc,none", "acc_stderr,none"} <= results["results"]["colours"].keys()
    lock = json.loads((folder / "lock.json").read_text())
    assert lock["jobs"]["colours"]["prompt_hash"] and lock["jobs"]["colours"]["datasets"]["test"]
    assert lock["models"]["stub"]["backend"] == "scripted"


def test_identical_requests_are_asked_once(world: World) -> None:
    tasks = '[[tasks]]\nname = "colours"\nlimit = 10\n[[tasks]]\nname = "colours"\nlimit = 5\n'
    outcome = world.run(world.manifest(world.stub(), tasks=tasks))
    assert complete(outcome), closing_words(RunReader(outcome.directory))
    assert len(world.calls()) == len(set(world.calls())) == 30


def test_a_full_cache_asks_nothing_and_loads_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.run(world.manifest(world.stub(), tasks=BOTH))

    def refuse(_backend: ScriptedBackend) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(ScriptedBackend, "load", refuse)
    second = world.run(world.manifest(world.stub(), tasks=BOTH))
    assert complete(second) and second.directory != first.directory
    assert world.scores(second) == world.scores(first)
    reader = RunReader(second.directory)
    assert [(job.requests, job.cache_hits) for job in reader.jobs()] == [(30, 30), (10, 10)]


def test_no_cache_asks_again(world: World) -> None:
    manifest = world.manifest(world.stub())
    world.run(manifest)
    world.run(manifest, cache=False)
    assert len(world.calls()) == 60


@pytest.mark.parametrize("limit", [4, 0.4])
def test_a_larger_limit_asks_only_the_rest(world: World, limit: float) -> None:
    manifest = world.manifest(world.stub())
    world.run(manifest, limit=limit)
    assert len(world.calls()) == 12
    world.run(manifest)
    assert len(world.calls()) == 30


def test_batch_size_is_not_part_of_the_key(world: World) -> None:
    one = world.run(world.manifest(world.stub(chunk=1)))
    other = world.run(world.manifest(world.stub(chunk=7)))
    assert len(world.calls()) == 30
    assert world.scores(one) == world.scores(other)


def test_two_models_never_share_an_answer(world: World) -> None:
    models = [world.stub("a", salt="a"), world.stub("b", salt="b")]
    outcome = world.run(world.manifest(*models))
    assert len(world.calls()) == 60
    reader = RunReader(outcome.directory)
    assert all(job.cache_hits == 0 for job in reader.jobs())
    answers = {
        model: [
            exchange.response.logprob
            for row in reader.samples(SampleQuery(model=model))
            for exchange in reader.sample(row.id).exchanges
            if exchange.response
        ]
        for model in ("a", "b")
    }
    assert len(answers["a"]) == len(answers["b"]) == 30
    assert not set(answers["a"]) & set(answers["b"])


def test_an_error_is_neither_scored_nor_cached_and_asked_again(world: World) -> None:
    lock = world.folder / "broken"
    lock.touch()
    manifest = world.manifest(world.stub(fail="colour 3", fail_while=str(lock)))
    first = world.run(manifest)
    assert first.exit_code is ExitCode.INCOMPLETE
    reader = RunReader(first.directory)
    (job,) = reader.jobs()
    assert (job.n_scored, job.n_errors) == (9, 1)
    (row,) = reader.samples(SampleQuery(outcomes=("errors",)))
    assert row.doc_id == 3 and row.error and row.error["kind"] == "scripted"
    results = json.loads((first.directory.results / "stub.json").read_text())
    assert results["incomplete"] == {"colours": 1}
    reader.close()

    lock.unlink()
    asked = len(world.calls())
    second = world.run(manifest)
    assert complete(second) and second.directory == first.directory
    assert len(world.calls()) - asked == 3
    assert world.scores(second) == world.scores(world.run(manifest, fresh=True, cache=False))


def test_a_model_that_does_not_start_does_not_stop_the_others(world: World) -> None:
    models = [world.stub("a", salt="a"), world.stub("bad", load_error="no such weights"), world.stub("c", salt="c")]
    outcome = world.run(world.manifest(*models))
    assert outcome.exit_code is ExitCode.BACKEND_FAILED
    assert {model for model, _, _ in world.scores(outcome)} == {"a", "c"}
    reader = RunReader(outcome.directory)
    assert {m["name"]: m["status"] for m in reader.models()} == {"a": "done", "bad": "failed", "c": "done"}
    assert reader.models()[1]["error"]["message"] == "no such weights"


def test_what_a_model_cannot_be_is_told_with_its_place(world: World) -> None:
    wrong = 'name = "wrong"\nbackend = "hf"\nmodel = "nowhere"\nadapter = "a"\ndelta = "b"\n'
    manifest = world.manifest(wrong, world.stub())
    place = f"{manifest}:{manifest.read_text().splitlines().index('[[models]]') + 1}:1"
    (problem,) = check_manifest(str(manifest), Overrides()).problems
    assert str(problem.location) == place and "adapter and delta exclude each other" in problem.message
    outcome = world.run(manifest)
    assert {model for model, _, _ in world.scores(outcome)} == {"stub"}
    assert f'{place}: model "wrong": adapter and delta' in closing_words(RunReader(outcome.directory))


def test_a_backend_that_breaks_on_one_job_does_not_stop_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ScriptedBackend.answer

    def answer(backend: ScriptedBackend, request: Request) -> object:
        if request.kind == "loglikelihood":
            raise RuntimeError("kernel fault")
        return whole(backend, request)

    settled, left = Tracker.settle, []

    def settle(tracker: Tracker) -> None:
        settled(tracker)
        now = tracker.snapshot()
        left.append((now.eta, now.requests - now.done))

    monkeypatch.setattr(ScriptedBackend, "answer", answer)
    monkeypatch.setattr(Tracker, "settle", settle)
    outcome = world.run(world.manifest(world.stub(), tasks=BOTH))
    assert outcome.exit_code is ExitCode.INCOMPLETE
    assert left == [(0.0, 0)], "nobody waits for what is not asked"
    assert {job for _, job, _ in world.scores(outcome)} == {"speech"}
    reader = RunReader(outcome.directory)
    assert [(job.label, job.status) for job in reader.jobs()] == [("colours", "failed"), ("speech", "scored")]


def test_a_backend_is_told_what_comes_after_a_job(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what has an answer already; whether it reads it, and how far, is its own affair."""
    told: list[list[Request]] = []
    asked: list[list[Request]] = []

    class Told(ScriptedBackend):
        def run(self, requests: Sequence[Request], answered: Collection[int] = frozenset()) -> Iterator[Chunk]:
            asked.append(list(requests))
            return super().run(requests, answered)

        def foresee(self, requests: Iterator[Request]) -> None:
            told.append(list(requests))

    monkeypatch.setattr("lmrun.engine.plan.backend_class", lambda _: Told)
    tasks = '[[tasks]]\nname = "colours"\nlimit = 2\n[[tasks]]\nname = "colours"\n[[tasks]]\nname = "speech"\n'
    outcome = world.run(world.manifest(world.stub(), tasks=tasks))
    assert complete(outcome) and len(asked) == 3
    assert told[1:] == [asked[2], []]
    assert told[0] == [*asked[0], *asked[1]], "what the first job is about to answer was not known yet"


def test_answers_of_any_length_can_be_asked_for(world: World) -> None:
    """What only the forecast makes of it must not end a run."""
    tasks = f'[[tasks]]\nname = "speech"\ngeneration = {{ max_gen_toks = {10**17} }}\n'
    outcome = world.run(world.manifest(world.stub(), tasks=tasks))
    assert complete(outcome), closing_words(RunReader(outcome.directory))


def test_a_capability_that_one_job_lacks_fails_that_job_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_backend: ScriptedBackend, _requests: object, _answered: object = ()) -> object:
        raise BackendError("no chat template")

    monkeypatch.setattr(ScriptedBackend, "run", run)
    outcome = world.run(world.manifest(world.stub()))
    assert outcome.exit_code is ExitCode.BACKEND_FAILED


def test_an_interrupted_run_goes_on_where_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = world.manifest(world.stub(chunk=2), tasks=BOTH)
    whole = ScriptedBackend.answer
    count = 0

    def answer(backend: ScriptedBackend, request: Request) -> object:
        nonlocal count
        count += 1
        if count == 17:
            raise KeyboardInterrupt
        return whole(backend, request)

    monkeypatch.setattr(ScriptedBackend, "answer", answer)
    first = world.run(manifest)
    assert first.exit_code is ExitCode.INTERRUPTED
    show(str(first.directory.path))
    told = capsys.readouterr().err
    assert "interrupted with 16 answers kept, 0 of 2 jobs scored" in told and "resume it with" in told
    second = world.run(manifest)
    assert complete(second) and second.directory == first.directory
    assert "after it was begun: " in closing_words(RunReader(second.directory))
    asked = world.calls()
    assert len(set(asked)) == 40
    assert len(asked) - len(set(asked)) == 2  # the batch that was cut short
    assert world.scores(second) == world.scores(world.run(manifest, fresh=True, cache=False))


def test_what_a_killed_process_did_not_reach_in_the_cache_is_made_good(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lmrun.store.cache import Cache

    def lose(*_args: object) -> None:
        raise KeyboardInterrupt

    manifest = world.manifest(world.stub(chunk=30))
    with monkeypatch.context() as patch:
        patch.setattr(Cache, "put", lose)
        assert world.run(manifest).exit_code is ExitCode.INTERRUPTED
    assert complete(world.run(manifest))
    world.run(manifest, fresh=True)
    assert len(world.calls()) == 30


def test_a_changed_task_is_not_mixed_into_an_unfinished_run(world: World) -> None:
    lock = world.folder / "broken"
    lock.touch()
    manifest = world.manifest(world.stub(fail="colour 3", fail_while=str(lock)))
    first = world.run(manifest)
    task = world.folder / "tasks" / "colours.yaml"
    task.write_text(task.read_text().replace("Q: ", "Question: "))
    second = world.run(manifest)
    assert second.directory != first.directory


def test_scoring_again_uses_the_metrics_that_the_task_states_now(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = world.run(world.manifest(world.stub()))

    def refuse(*_args: object) -> None:
        raise AssertionError("scoring needs no backend")

    monkeypatch.setattr(ScriptedBackend, "__init__", refuse)
    task = world.folder / "tasks" / "colours.yaml"
    task.write_text(task.read_text().replace("[{metric: acc}]", "[{metric: acc}, {metric: acc_norm}]"))
    (done,) = rescore(outcome.directory, current_scoring(outcome.directory))
    assert done.changed
    assert {metric for _, _, metric in world.scores(outcome)} == {"acc", "acc_norm"}


def test_a_run_is_complete_in_itself(world: World, tmp_path: Path) -> None:
    outcome = world.run(world.manifest(world.stub(), tasks=BOTH))
    before = world.scores(outcome)
    elsewhere = tmp_path / "elsewhere" / outcome.directory.id
    shutil.copytree(outcome.directory.path, elsewhere)
    for path in ("tasks", "runs", "m.toml"):
        target = world.folder / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    moved = type(outcome)(type(outcome.directory)(elsewhere), outcome.exit_code)
    assert world.scores(moved) == before
    rescore(moved.directory, current_scoring(moved.directory))
    assert world.scores(moved) == before
    reader = RunReader(moved.directory)
    assert reader.count(SampleQuery(search="colour 7")) == 2


def test_a_template_that_does_not_fit_is_found_before_the_run(world: World) -> None:
    task = world.folder / "tasks" / "colours.yaml"
    task.write_text(task.read_text().replace("{{question}}", "{{qestion}}"))
    with pytest.raises(TaskError) as caught:
        world.run(world.manifest(world.stub()))
    (problem,) = caught.value.problems
    assert "qestion" in problem.message and "colours.yaml" in str(problem.location)
    assert not list(world.folder.glob("runs/*/run.db"))


def test_a_doc_that_cannot_be_rendered_is_an_error_of_that_doc(world: World) -> None:
    data = world.folder / "tasks" / "colours.jsonl"
    lines = data.read_text().splitlines()
    task = world.folder / "tasks" / "colours.yaml"
    task.write_text(task.read_text().replace("{{question}}", "{{question if answer != 99 else missing}}"))
    lines[4] = json.dumps({"question": "colour 4?", "answer": 99})
    data.write_text("\n".join(lines))
    outcome = world.run(world.manifest(world.stub()))
    assert outcome.exit_code is ExitCode.INCOMPLETE
    (row,) = RunReader(outcome.directory).samples(SampleQuery(outcomes=("errors",)))
    assert row.doc_id == 4 and row.error and row.error["kind"] == "not_rendered"


def test_a_target_that_is_no_choice_is_told_before_the_model_answers(world: World) -> None:
    task = world.folder / "tasks" / "colours.yaml"
    task.write_text(task.read_text().replace("doc_to_target: answer", "doc_to_target: anser"))
    manifest = world.manifest(world.stub())
    check = check_manifest(str(manifest), Overrides())
    assert not check.problems
    (warning,) = check.warnings
    assert "'anser' for doc 0, which is none of its choices" in warning
    log = (world.run(manifest).directory.log).read_text()
    assert "the target of 10 docs is none of their choices" in log


def test_examples_that_can_hold_the_doc_itself_are_told(world: World) -> None:
    from lmrun.engine.check import check_manifest
    from lmrun.engine.inputs import Overrides

    tasks = '[[tasks]]\nname = "colours"\nnum_fewshot = 2\n'
    (warning,) = check_manifest(str(world.manifest(world.stub(), tasks=tasks)), Overrides()).warnings
    assert "a doc can be among its own examples" in warning


def test_scoring_again_with_a_broken_task_file_changes_nothing(world: World) -> None:
    outcome = world.run(world.manifest(world.stub()))
    before = world.scores(outcome)
    task = world.folder / "tasks" / "colours.yaml"
    task.write_text(task.read_text().replace("[{metric: acc}]", "[{metric: acc_nrm}]"))
    with pytest.raises(TaskError) as caught:
        rescore(outcome.directory, current_scoring(outcome.directory))
    assert "unknown metric 'acc_nrm'" in str(caught.value.problems[0])
    assert world.scores(outcome) == before


def test_results_say_how_jobs_were_asked(world: World) -> None:
    tasks = '[[tasks]]\nname = "speech"\napply_chat_template = true\nlimit = 4\n'
    outcome = world.run(world.manifest(world.stub(), tasks=tasks))
    results = json.loads((outcome.directory.results / "stub.json").read_text())
    assert results["config"]["limit"] == 4 and results["config"]["apply_chat_template"] is True
    assert results["settings"]["speech"]["limit"] == 4


def test_a_run_is_found_by_its_manifests_name(world: World) -> None:
    from lmrun.store.runs import find_run

    world.run(world.manifest(world.stub()))
    newest = world.run(world.manifest(world.stub()), fresh=True)
    runs = newest.directory.path.parent
    assert find_run("m", runs).id in {run.name for run in runs.iterdir()}
    assert find_run(newest.directory.id, runs) == newest.directory


def test_errors_stay_errors_until_they_are_answered(world: World) -> None:
    """A doc that can never be asked keeps the run incomplete, however often it is resumed."""
    data = world.folder / "tasks" / "colours.jsonl"
    lines = data.read_text().splitlines()
    data.write_text("\n".join([*lines, json.dumps({"question": "half \ud800 a pair", "answer": 0})]))
    manifest = world.manifest(world.stub())
    first, second = world.run(manifest), world.run(manifest)
    assert first.exit_code is second.exit_code is ExitCode.INCOMPLETE
    assert first.directory == second.directory
    (row,) = RunReader(second.directory).samples(SampleQuery(outcomes=("errors",)))
    assert row.doc_id == 10 and row.error and row.error["kind"] == "not_rendered"


def test_jobs_that_share_a_failed_request_are_both_repaired(world: World) -> None:
    lock = world.folder / "broken"
    lock.touch()
    tasks = '[[tasks]]\nname = "colours"\nlimit = [5, 10]\n'
    manifest = world.manifest(world.stub(fail="colour 3", fail_while=str(lock)), tasks=tasks)
    assert world.run(manifest).exit_code is ExitCode.INCOMPLETE
    lock.unlink()
    second = world.run(manifest)
    assert complete(second)
    assert [(job.n_scored, job.n_errors) for job in RunReader(second.directory).jobs()] == [(5, 0), (10, 0)]


def test_a_resume_that_is_cut_short_forgets_no_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = world.folder / "broken"
    lock.touch()
    manifest = world.manifest(world.stub(fail="colour 3", fail_while=str(lock)))
    world.run(manifest)
    lock.unlink()

    def die(_backend: ScriptedBackend) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ScriptedBackend, "load", die)
        assert world.run(manifest).exit_code is ExitCode.INTERRUPTED
    third = world.run(manifest)
    assert complete(third)
    assert RunReader(third.directory).jobs()[0].n_scored == 10


def test_a_model_that_changes_under_a_run_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmrun.backends.base import ModelIdentity

    identities = iter([ModelIdentity("before", {}), ModelIdentity("after", {})])
    monkeypatch.setattr(ScriptedBackend, "identify", lambda _backend: next(identities))
    outcome = world.run(world.manifest(world.stub()))
    assert outcome.exit_code is ExitCode.BACKEND_FAILED
    assert "has changed since this run was planned" in RunReader(outcome.directory).models()[0]["error"]["message"]
    assert not world.calls()


def test_a_cache_that_breaks_does_not_cost_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    from lmrun.store.cache import Cache

    def locked(*_args: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(Cache, "put", locked)
    outcome = world.run(world.manifest(world.stub()))
    assert complete(outcome)
    assert "cache lost" in outcome.directory.log.read_text()


def test_models_with_similar_names_have_results_of_their_own(world: World) -> None:
    outcome = world.run(world.manifest(world.stub("a/b", salt="1"), world.stub("a b", salt="2"), world.stub("a__b")))
    assert len(list(outcome.directory.results.glob("*.json"))) == 3


def test_the_manifests_word_for_the_length_takes_the_place_of_the_tasks(world: World) -> None:
    tasks = '[[tasks]]\nname = "speech"\ngeneration = { max_new_tokens = 3 }\n'
    outcome = world.run(world.manifest(world.stub(), tasks=tasks))
    reader = RunReader(outcome.directory)
    sample = reader.sample(next(reader.samples(SampleQuery())).id)
    assert dict(sample.exchanges[0].request.generation) == {"until": ["\n"], "max_new_tokens": 3}


def test_with_compat_the_tasks_word_for_the_length_stays_as_in_lm_eval(world: World) -> None:
    tasks = '[[tasks]]\nname = "speech"\ncompat = "lm-eval"\ngeneration = { max_new_tokens = 3 }\n'
    outcome = world.run(world.manifest(world.stub(), tasks=tasks))
    reader = RunReader(outcome.directory)
    sample = reader.sample(next(reader.samples(SampleQuery())).id)
    asked = dict(sample.exchanges[0].request.generation)
    assert asked["max_new_tokens"] == 3
    assert normalise(asked).max_new_tokens == asked["max_gen_toks"] != 3
    assert reader.jobs()[0].setting["compat"] == "lm-eval"


def test_groups_that_share_their_tasks_all_have_a_score(world: World) -> None:
    for name in ("warm", "bright"):
        group = f"group: {name}\ntask: [colours]\naggregate_metric_list: [{{metric: acc}}]\n"
        (world.folder / "tasks" / f"{name}.yaml").write_text(group)
    tasks = '[[tasks]]\nname = "warm"\n[[tasks]]\nname = "bright"\n'
    outcome = world.run(world.manifest(world.stub(), tasks=tasks))
    assert {label for _, label, _ in world.scores(outcome)} == {"warm", "bright", "colours"}


def test_a_generation_parameter_with_a_slip_of_the_pen_is_named(world: World) -> None:
    speech = world.folder / "tasks" / "speech.yaml"
    speech.write_text(speech.read_text().replace("{until:", "{untl:"))
    manifest = open_manifest(str(world.manifest(world.stub(), tasks='[[tasks]]\nname = "speech"\n')), Overrides())
    (job,) = build_plan(manifest, open_sources(manifest)).jobs
    assert list(job.warnings) == ["speech: no generation parameter is called 'untl'; did you mean 'until'?"]


def test_answers_that_leave_no_room_for_a_prompt_are_told_before_the_model_loads(world: World) -> None:
    model = 'name = "demo"\nbackend = "hf"\nmodel = "bundled:demo"'
    tasks = '[[tasks]]\nname = "speech"\ngeneration = { max_gen_toks = 100000 }\n'
    check = check_manifest(str(world.manifest(model, tasks=tasks)), Overrides())
    assert not check.problems
    assert check.warnings == [
        "speech: answers may have 100,000 tokens, and demo takes 1,024, prompt included: every doc will be an error; "
        "set generation = { max_gen_toks = … } below 1,024"
    ]


@pytest.mark.parametrize("name", ["manifest.toml", "lock.json"])
def test_a_full_disk_leaves_what_makes_a_run_resumable(
    name: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = world.manifest(world.stub(fail="colour 3"))
    file = world.run(path).directory.path / name
    before = file.read_text()
    write = Path.write_text

    def full(self: Path, text: str, **options: str) -> int:
        if self.stem != file.stem:
            return write(self, text, **options)
        write(self, text[:10], **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        world.run(path)
    assert file.read_text() == before
