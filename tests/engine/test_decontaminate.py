"""Docs that are in a corpus: found, recorded, scored apart, listed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmrun.engine.decontaminate import doc_text, find_overlaps
from lmrun.engine.inputs import Overrides, open_manifest, open_sources
from lmrun.engine.plan import plan_jobs
from lmrun.engine.results import result_rows
from lmrun.engine.run import Outcome
from lmrun.errors import DataError, ManifestError
from lmrun.manifest import Decontaminate
from lmrun.store.reader import RunReader
from lmrun.store.records import DecontaminationRecord
from tests.engine.conftest import World

SENTENCE = "the {} lamp in the hall of the old town house was painted today"
TASK = """
task: lamps
dataset_path: json
dataset_kwargs: {data_files: {test: lamps.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "Q: {{question}}\\nA:"
doc_to_choice: [red, green, blue]
doc_to_target: answer
metric_list: [{metric: acc}]
"""
COLOURS = "red green blue gray pink".split()


@pytest.fixture
def lamps(world: World) -> World:
    """A task of five docs, the second and fourth of which are in the corpus."""
    docs = [{"question": f"Is it true that {SENTENCE.format(c)}?", "answer": i % 3} for i, c in enumerate(COLOURS)]
    (world.folder / "tasks/lamps.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    (world.folder / "tasks/lamps.yaml").write_text(TASK)
    corpus = ["Nothing of note.", f"People say: {SENTENCE.format('GREEN').upper()}!", f"«{SENTENCE.format('gray')}»"]
    (world.folder / "web.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in corpus))
    return world


TABLES = '[[tasks]]\nname = "lamps"\n[decontaminate]\ncorpora = ["web.jsonl"]\n'


def overlaps(world: World, **sought: Any) -> DecontaminationRecord:
    manifest = open_manifest(str(world.manifest(world.stub(), tasks=TABLES)), Overrides())
    jobs, _ = plan_jobs(manifest.tasks, open_sources(manifest))
    found = find_overlaps(jobs, Decontaminate(**{"corpora": (str(world.folder / "web.jsonl"),), **sought}))
    return found["lamps"]


def results(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((outcome.directory.results / "stub.json").read_text())
    return found


def test_the_docs_that_are_in_a_corpus_are_found(lamps: World) -> None:
    found = overlaps(lamps)
    assert (found.ngram, found.docs, found.short) == (13, 5, 0)
    # Docs 1 and 3 share the sentence of 14 words with a document; the ends of all sentences are alike, and shorter.
    assert [(o.doc_id, o.ngrams, o.documents) for o in found.overlaps] == [(1, 2, 1), (3, 2, 1)]
    first = found.overlaps[0]
    assert first.ngram == "the green lamp in the hall of the old town house was painted"
    assert first.place == f"{lamps.folder / 'web.jsonl'}:2"


def test_n_decides_what_an_overlap_is(lamps: World) -> None:
    assert len(overlaps(lamps, ngram=12).overlaps) == 5  # "lamp in the hall … today" is in every doc
    assert [o.doc_id for o in overlaps(lamps, ngram=14).overlaps] == [1, 3]
    assert overlaps(lamps, ngram=15).overlaps == []
    short = overlaps(lamps, ngram=40)
    assert (short.short, short.overlaps) == (5, [])
    assert overlaps(lamps, ngram="auto").ngram == 13


def test_what_many_documents_hold_is_a_common_phrase(lamps: World) -> None:
    line = json.dumps({"text": SENTENCE.format("green")}) + "\n"
    with (lamps.folder / "web.jsonl").open("a") as file:
        file.write(line * 9)
    assert [o.documents for o in overlaps(lamps).overlaps] == [10, 1]
    with (lamps.folder / "web.jsonl").open("a") as file:
        file.write(line)
    assert [o.doc_id for o in overlaps(lamps).overlaps] == [3]


def test_the_query_of_the_task_is_looked_for(lamps: World) -> None:
    path = lamps.folder / "tasks/lamps.yaml"
    path.write_text(TASK + 'doc_to_decontamination_query: "{{answer}} of many"\n')
    assert len(overlaps(lamps).overlaps) == 2  # it is said, but not that it should be used
    path.write_text(path.read_text() + "should_decontaminate: true\n")
    assert overlaps(lamps).overlaps == []
    path.write_text(TASK + "should_decontaminate: true\ndoc_to_decontamination_query: question\n")
    assert [o.doc_id for o in overlaps(lamps).overlaps] == [1, 3]


def test_question_and_answer_are_looked_for_without_examples(lamps: World) -> None:
    manifest = open_manifest(
        str(lamps.manifest(lamps.stub(), tasks='[[tasks]]\nname = "*"\nnum_fewshot = 2\n')), Overrides()
    )
    jobs, _ = plan_jobs(
        [setting for name in ("lamps", "speech") for setting in [type(manifest.tasks[0])(name, num_fewshot=2)]],
        open_sources(manifest),
    )
    texts = {job.label: doc_text(job.task, *next(job.task.eval_docs(1))) for job in jobs}
    question = f"Is it true that {SENTENCE.format('red')}?"
    assert texts == {"lamps": f"Q: {question}\nA: red", "speech": "Say: colour 0? 0"}


def test_clean_and_dirty_docs_are_scored_apart(lamps: World) -> None:
    outcome = lamps.run(lamps.manifest(lamps.stub(), tasks=TABLES))
    reader = RunReader(outcome.directory)
    (row,) = result_rows(reader)
    correct = {s.row.doc_id: s.row.correct for s in map(reader.sample, range(1, 6))}
    reader.close()
    dirty = [correct[1], correct[3]]
    clean = [correct[0], correct[2], correct[4]]
    assert row.clean and row.dirty
    assert (row.n, row.clean.n, row.dirty.n) == (5, 3, 2)
    assert row.dirty.value == sum(map(bool, dirty)) / 2
    assert row.clean.value == pytest.approx(sum(map(bool, clean)) / 3)
    found = results(outcome)["decontamination"]["lamps"]
    assert {key: found[key] for key in ("ngram", "docs", "short", "dirty")} == {
        "ngram": 13,
        "docs": 5,
        "short": 0,
        "dirty": 2,
    }
    assert found["scores"]["acc,none"]["dirty"]["value"] == row.dirty.value


def test_without_corpora_nothing_is_scored_apart(lamps: World) -> None:
    outcome = lamps.run(lamps.manifest(lamps.stub(), tasks='[[tasks]]\nname = "lamps"\n'))
    reader = RunReader(outcome.directory)
    (row,) = result_rows(reader)
    reader.close()
    assert (row.clean, row.dirty) == (None, None)
    assert results(outcome)["decontamination"] == {}


def test_an_interrupted_run_does_not_read_the_corpora_again(lamps: World, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = lamps.manifest(lamps.stub(fail="red lamp", fail_while=str(lamps.folder / "web.jsonl")), tasks=TABLES)
    first = lamps.run(manifest)

    def refuse(*_args: object) -> None:
        raise AssertionError("the corpora are read again")

    monkeypatch.setattr("lmrun.engine.decontaminate.find_overlaps", refuse)
    again = lamps.run(manifest)
    assert again.directory == first.directory


def test_a_corpus_that_is_missing_or_broken_is_told(lamps: World) -> None:
    with pytest.raises(ManifestError) as caught:
        lamps.run(lamps.manifest(lamps.stub(), tasks=TABLES.replace("web.jsonl", "webb.jsonl")))
    assert "there is no file" in str(caught.value.problems[0])
    assert "did you mean 'web.jsonl'?" in str(caught.value.problems[0])
    (lamps.folder / "web.jsonl").write_text("{")
    with pytest.raises(DataError, match=r"web\.jsonl:1: not JSON"):
        lamps.run(lamps.manifest(lamps.stub(), tasks=TABLES))


def lmrun(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lmrun", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_the_command_lists_docs_of_a_manifest_and_of_a_run(lamps: World) -> None:
    outcome = lamps.run(lamps.manifest(lamps.stub(), tasks=TABLES))
    told = lmrun(lamps.folder, "decontaminate", "m.toml")
    assert told.returncode == 0, told.stderr
    assert "web.jsonl:2" in told.stdout and "the green lamp in the hall" in told.stdout
    assert "lamps: 2 of 5 docs, by 13-grams" in told.stderr
    assert lmrun(lamps.folder, "decontaminate", str(outcome.directory.path)).stdout == told.stdout
    (lamps.folder / "other.txt").write_text(SENTENCE.format("pink"))
    listed = json.loads(lmrun(lamps.folder, "decontaminate", "m.toml", "--corpus", "other.txt", "--json").stdout)
    assert [o["doc_id"] for o in listed["lamps"]["overlaps"]] == [4]
    missing = lmrun(lamps.folder, "decontaminate", "nothing")
    assert missing.returncode == 2 and "no manifest and no run 'nothing'" in missing.stderr
    shown = lmrun(lamps.folder, "show", str(outcome.directory.path))
    assert "clean (n)" in shown.stdout and "dirty (n)" in shown.stdout
    assert "2 docs overlap with the corpora" in shown.stderr
