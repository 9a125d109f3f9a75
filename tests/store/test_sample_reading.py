"""What the page of samples reads of a run beside its list."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from benchmarks.tuibench.make import make_run
from lmrun.display.samples import gold_positions
from lmrun.store.reader import RunReader, SampleQuery
from lmrun.store.records import SampleDetail, SampleRow


def test_one_job_and_which_samples_are_wrong(tmp_path: Path) -> None:
    reader = RunReader(make_run(tmp_path, 400, 4))
    try:
        assert [reader.job(job.model, job.label) for job in reader.jobs()] == reader.jobs()
        every = list(chain.from_iterable(reader.sample_ids(SampleQuery())))
        wrong = set(chain.from_iterable(reader.sample_ids(SampleQuery(outcomes=("wrong",)))))
        assert wrong and reader.wrong_among(every) == wrong
        assert reader.wrong_among(every[:100]) == wrong & set(every[:100])
    finally:
        reader.close()


def test_the_gold_choice_where_each_choice_has_its_own_prompt() -> None:
    row = SampleRow(1, "m", "t", 0, "scored", True, False, False, 0, False, None)
    assert gold_positions(SampleDetail(row, {}, " the end", ["a", "b"], [], [], text=1)) == {1}
    assert gold_positions(SampleDetail(row, {}, 0, ["a", "b"], [], [], text="Q: ?")) == {0}
    assert gold_positions(SampleDetail(row, {}, 0, None, [], [])) == frozenset()
