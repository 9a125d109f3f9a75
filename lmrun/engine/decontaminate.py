"""Which docs of a plan are in given corpora, as GPT-3 was decontaminated (Brown et al. 2020, appendix C)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lmrun.data.corpus import corpus_documents, corpus_files
from lmrun.data.ngrams import NgramIndex, ngram_size, words
from lmrun.engine.inputs import manifest_path
from lmrun.engine.plan import PlannedJob
from lmrun.errors import ManifestError, RunError, TaskError
from lmrun.manifest import Decontaminate
from lmrun.store.records import DecontaminationRecord, OverlapRecord
from lmrun.store.runs import find_run
from lmrun.tasks import Task


@dataclass(slots=True)
class _JobTexts:
    """The docs of a job as words."""

    label: str
    texts: list[list[str]]
    ngram: int


def find_overlaps(
    jobs: Sequence[PlannedJob], sought: Decontaminate, progress: Callable[[str], None] = lambda _file: None
) -> dict[str, DecontaminationRecord]:
    """Look for the docs of every job in the corpora; by label of the job.

    The corpora are read once, document by document; ``progress`` is told each file. Raises
    :class:`~lmrun.errors.DataError` for a corpus that cannot be read.
    """
    prepared = [_job_texts(job, sought) for job in jobs]
    indices = {n: _index([job for job in prepared if job.ngram == n], n) for n in {job.ngram for job in prepared}}
    for file in corpus_files(sought.corpora):
        progress(str(file))
        for place, document in corpus_documents(file, sought.field):
            document_words = words(document)
            for index in indices.values():
                index.scan(document_words, place)
    first = dict.fromkeys(indices, 0)
    found = {}
    for job in prepared:
        found[job.label] = _record(job, indices[job.ngram], first[job.ngram])
        first[job.ngram] += len(job.texts)
    return found


def _job_texts(job: PlannedJob, sought: Decontaminate) -> _JobTexts:
    texts = [words(doc_text(job.task, doc_id, doc)) for doc_id, doc in job.task.eval_docs(job.limit)]
    ngram = ngram_size([len(text) for text in texts]) if sought.ngram == "auto" else sought.ngram
    return _JobTexts(job.label, texts, ngram)


def _index(jobs: Sequence[_JobTexts], n: int) -> NgramIndex:
    return NgramIndex([text for job in jobs for text in job.texts], n)


def _record(job: _JobTexts, index: NgramIndex, first: int) -> DecontaminationRecord:
    short = sum(len(text) < job.ngram for text in job.texts)
    return DecontaminationRecord(job.ngram, len(job.texts), short, list(_overlap_records(job, index, first)))


def _overlap_records(job: _JobTexts, index: NgramIndex, first: int) -> Iterator[OverlapRecord]:
    for doc_id in range(len(job.texts)):
        overlaps = index.overlaps(first + doc_id)
        if overlaps:
            best = overlaps[0]
            yield OverlapRecord(doc_id, best.ngram, str(best.place), best.documents, len(overlaps))


def doc_text(task: Task, doc_id: int, doc: dict[str, Any]) -> str:
    """What of a doc is looked for: the query that the task states, else question and answer without examples.

    A doc that cannot be rendered has no text.
    """
    try:
        query = task.fields.decontamination_query(doc)
        if query is not None:
            return query
        facts = task.facts(doc_id, doc)
    except TaskError:
        return ""
    return f"{_chosen(facts.text, facts.choices)} {_chosen(facts.target, facts.choices)}"


def _chosen(value: Any, choices: Sequence[Any] | None) -> str:
    """A question or an answer as text; an index stands for its choice, a list for all its members."""
    if isinstance(value, list):
        return " ".join(_chosen(each, choices) for each in value)
    if choices and isinstance(value, int) and -len(choices) <= value < len(choices):
        return str(choices[value])
    return "" if value is None else str(value)


def sought_in(stated: Decontaminate | None, corpora: Sequence[Path]) -> Decontaminate:
    """What a manifest says, with corpora of the command line in the place of its own.

    Raises:
        ManifestError: if neither names a corpus.
    """
    if corpora:
        patterns = tuple(str(path.absolute()) for path in corpora)
        return replace(stated, corpora=patterns) if stated else Decontaminate(patterns)
    if stated is None:
        raise ManifestError(
            "no corpus is named", hint='give --corpus FILE, or [decontaminate] corpora = ["…"] in the manifest'
        )
    return stated


def manifest_of(name: str, runs_dir: Path) -> str:
    """The manifest that ``name`` stands for: its own path or name, or that of the run of this name.

    Raises:
        ManifestError: if there is neither.
    """
    try:
        return str(find_run(name, runs_dir).manifest) if Path(name).is_dir() else str(manifest_path(name))
    except ManifestError:
        try:
            return str(find_run(name, runs_dir).manifest)
        except RunError as error:
            raise ManifestError(f"there is no manifest and no run {name!r}", hint=error.hint) from error
