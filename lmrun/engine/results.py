"""The results of a run: rows for people, and lm-eval's layout for programs. Read from the run store alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lmrun.engine.remarks import flags, job_flags, rate
from lmrun.engine.usage import usage_as_json, usage_by_model
from lmrun.requests import strict_json
from lmrun.store.reader import RunReader
from lmrun.store.records import DecontaminationRecord, GroupView, JobView, MetricRecord, Subset
from lmrun.store.runs import RunDirectory

if TYPE_CHECKING:
    from lmrun.scoring import MetricResult


@dataclass(frozen=True, slots=True)
class SubsetScore:
    """A metric of some docs of a task."""

    value: Any
    stderr: Any
    n: int


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One metric of one task or group of one model."""

    model: str
    label: str
    alias: str
    depth: int
    """How many groups it stands under."""
    is_group: bool
    version: Any
    filter: str
    num_fewshot: int | None
    metric: str
    value: Any
    stderr: Any
    interval: Sequence[float] | None
    """95% interval of the value."""
    higher_is_better: bool | None
    n: int
    errors: int
    skipped: int
    """Samples left out because their prompt did not fit the model."""
    truncated: int
    """Samples with an answer that was cut off at the token limit."""
    truncated_rate: float
    refused: int
    """Samples with an answer that the model or its provider refused to give."""
    refused_rate: float
    dropped: int
    """Samples whose prompt was cut because it did not fit the model."""
    no_match: int
    """Samples in which the row's filter found no answer."""
    no_match_rate: float
    ambiguous: int
    """Samples in which it found different ones."""
    ambiguous_rate: float
    cache_hits: int
    requests: int
    flags: Sequence[str] = ()
    """``truncated``, ``refused``: so many answers were cut off, or refused, that the score says little."""
    clean: SubsetScore | None = None
    """The same metric of the docs that are in none of the corpora, where these were looked for."""
    dirty: SubsetScore | None = None
    """And of the docs that overlap with one."""
    prompt: str = ""
    """How it was asked, where that is not plain: ``chat``, ``chat turns``, ``system``, ``generation`` (overridden)."""


_NO_SCORE = MetricRecord("no score", "", "–", "N/A", None, 0, None)
"""Stands for a job of which no doc could be scored."""


class ModelResults:
    """Jobs, metrics and group values of one model of a run."""

    def __init__(self, reader: RunReader, model: str) -> None:
        self.model = model
        self.jobs: dict[str, JobView] = {j.label: j for j in reader.jobs() if j.model == model}
        self.metrics: dict[str, list[MetricRecord]] = {j.label: reader.metrics(j.id) for j in self.jobs.values()}
        self.extractions = {j.label: reader.extractions(j.id) for j in self.jobs.values()}
        self.subset_metrics = {j.label: reader.subset_metrics(j.id) for j in self.jobs.values()}
        self.groups: dict[str, GroupView] = {g.label: g for g in reader.groups() if g.model == model}
        self.group_metrics = {label: self._group_metrics(group) for label, group in self.groups.items()}

    def _group_metrics(self, group: GroupView) -> list[MetricResult]:
        from lmrun.scoring import LeafMetric, aggregate_group  # only a run with groups waits for the metrics

        leaves = [
            [LeafMetric(m.metric, m.filter, m.value, m.stderr, m.n, m.higher_is_better) for m in self.metrics[leaf]]
            for leaf in group.spec["leaves"]
            if self.metrics.get(leaf)
        ]
        return aggregate_group(group.spec["aggregates"], leaves) if leaves else []

    def tree(self) -> Iterator[tuple[str, int]]:
        """Labels of groups and tasks with their depth; each once, groups above their members."""
        seen: set[str] = set()
        children = {child for group in self.groups.values() for child in group.spec["children"]}

        def walk(label: str, depth: int) -> Iterator[tuple[str, int]]:
            if label in seen:
                return
            seen.add(label)
            yield label, depth
            if label in self.groups:
                for child in self.groups[label].spec["children"]:
                    yield from walk(child, depth + 1)

        for job in self.jobs:
            holders = [label for label, group in self.groups.items() if job in group.spec["leaves"]]
            for top in [label for label in holders if label not in children] or [job]:
                yield from walk(top, 0)

    def rows(self) -> Iterator[ResultRow]:
        """Every metric in reading order."""
        for label, depth in self.tree():
            if label in self.groups:
                yield from self._group_rows(self.groups[label], depth)
            elif label in self.jobs:
                yield from self._job_rows(self.jobs[label], depth)

    def _job_rows(self, job: JobView, depth: int) -> Iterator[ResultRow]:
        unscored = [_NO_SCORE] if job.n_errors or job.n_skipped or job.status == "failed" else []
        for m in self.metrics[job.label] or unscored:
            yield ResultRow(
                model=self.model,
                label=job.label,
                alias=_alias(job),
                depth=depth,
                is_group=False,
                version=job.version,
                filter=m.filter,
                num_fewshot=job.num_fewshot,
                metric=m.metric,
                value=m.value,
                stderr=m.stderr,
                interval=m.interval,
                higher_is_better=m.higher_is_better,
                n=m.n,
                **self._counts([job], m.filter),
                **self._subsets(job, m),
                prompt=_prompt_words(job),
            )

    def _subsets(self, job: JobView, metric: MetricRecord) -> dict[str, Any]:
        found = self.subset_metrics[job.label].get((metric.metric, metric.filter), {})
        return {subset: SubsetScore(m.value, m.stderr, m.n) for subset, m in found.items()}

    def _counts(self, jobs: Sequence[JobView], pipeline: str) -> dict[str, Any]:
        """What stands beside a score of these jobs under one filter."""
        found = [self.extractions[job.label].get(pipeline, {}) for job in jobs]
        extracted = sum(sum(counts.values()) for counts in found)
        no_match, ambiguous = (sum(counts.get(name, 0) for counts in found) for name in ("no_match", "ambiguous"))
        docs = sum(job.n_docs for job in jobs)
        truncated, refused = sum(job.n_truncated for job in jobs), sum(job.n_refused for job in jobs)
        return {
            "errors": sum(job.n_errors for job in jobs),
            "skipped": sum(job.n_skipped for job in jobs),
            "truncated": truncated,
            "truncated_rate": rate(truncated, docs),
            "refused": refused,
            "refused_rate": rate(refused, docs),
            "dropped": sum(job.n_dropped for job in jobs),
            "no_match": no_match,
            "no_match_rate": rate(no_match, extracted),
            "ambiguous": ambiguous,
            "ambiguous_rate": rate(ambiguous, extracted),
            "cache_hits": sum(job.cache_hits for job in jobs),
            "requests": sum(job.requests for job in jobs),
            "flags": flags(truncated, refused, docs),
        }

    def extraction_rates(self) -> dict[str, dict[str, dict[str, float]]]:
        """By task and filter that extracts: how many answers were matched, ambiguous and not found, and the shares."""
        return {
            label: {
                name: {
                    **{status: counts.get(status, 0) for status in ("matched", "ambiguous", "no_match")},
                    "ambiguous_rate": rate(counts.get("ambiguous", 0), sum(counts.values())),
                    "no_match_rate": rate(counts.get("no_match", 0), sum(counts.values())),
                }
                for name, counts in pipelines.items()
            }
            for label, pipelines in self.extractions.items()
            if pipelines
        }

    def leaves(self, group: str) -> list[JobView]:
        """The jobs beneath a group."""
        return [self.jobs[label] for label in self.groups[group].spec["leaves"] if label in self.jobs]

    def common_shots(self, group: str) -> int | None:
        """How many few-shot examples the jobs beneath a group have, if all have as many."""
        shots = {job.num_fewshot for job in self.leaves(group)}
        return shots.pop() if len(shots) == 1 else None

    def directions(self) -> dict[str, dict[str, bool | None]]:
        """By task and group, whether more of a metric is better; None where the members of a group disagree."""
        found: dict[str, dict[str, bool | None]] = {
            label: {m.metric: m.higher_is_better for m in metrics} for label, metrics in self.metrics.items()
        }
        for group in self.groups:
            union: dict[str, bool | None] = {}
            for job in self.leaves(group):
                for metric, direction in found[job.label].items():
                    union[metric] = direction if union.get(metric, direction) == direction else None
            found[group] = union
        return found

    def _group_rows(self, group: GroupView, depth: int) -> Iterator[ResultRow]:
        leaves = self.leaves(group.label)
        for m in self.group_metrics[group.label]:
            yield ResultRow(
                model=self.model,
                label=group.label,
                alias=group.spec["alias"] + _shown_suffix(group.spec["suffix"]),
                depth=depth,
                is_group=True,
                version=group.spec["version"],
                filter=m.filter,
                num_fewshot=self.common_shots(group.label),
                metric=m.metric,
                value=m.value,
                stderr=m.stderr,
                interval=m.ci,
                higher_is_better=m.higher_is_better,
                n=m.n,
                **self._counts(leaves, m.filter),
            )


def _prompt_words(job: JobView) -> str:
    setting = job.setting
    words = []
    if setting.get("apply_chat_template"):
        turns = job.num_fewshot and setting.get("fewshot_as_multiturn", True)
        words.append("chat turns" if turns else "chat")
    words += ["system"] if setting.get("system_instruction") else []
    words += ["generation"] if setting.get("generation") else []
    return "+".join(words)


def _alias(job: JobView) -> str:
    """The task's display name, with what tells this setting from others of the same task."""
    return job.alias + _shown_suffix(job.label.removeprefix(job.task))


def _shown_suffix(suffix: str) -> str:
    """The number of few-shot examples has a column of its own."""
    parts = [part for part in suffix.removeprefix("@").split(",") if part and not part.startswith("num_fewshot=")]
    return "@" + ",".join(parts) if parts else ""


def result_rows(reader: RunReader) -> list[ResultRow]:
    """Every metric of every model of a run."""
    return [row for model in reader.models() for row in ModelResults(reader, model["name"]).rows()]


def lm_eval_layout(reader: RunReader, model: Mapping[str, Any]) -> dict[str, Any]:
    """The results of one model as lm-eval lays them out, with what only lmrun knows added."""
    results = ModelResults(reader, model["name"])
    entries, intervals = _scores(results)
    jobs, groups = results.jobs, results.groups
    info = reader.info()
    return {
        "results": entries,
        "groups": {label: entries[label] for label, group in groups.items() if group.spec["aggregates"]},
        "group_subtasks": {label: list(group.spec["children"]) for label, group in groups.items()},
        "configs": {label: dict(job.config) for label, job in sorted(jobs.items())},
        "versions": {
            **{label: job.version for label, job in jobs.items()},
            **{label: group.spec["version"] for label, group in groups.items()},
        },
        "n-shot": {
            **{label: job.num_fewshot for label, job in jobs.items()},
            **{label: shots for label in groups if (shots := results.common_shots(label)) is not None},
        },
        "higher_is_better": results.directions(),
        "n-samples": {label: {"original": job.n_docs_total, "effective": job.n_scored} for label, job in jobs.items()},
        "intervals": intervals,
        **_marks(jobs),
        "extraction": results.extraction_rates(),
        "decontamination": {
            label: _decontamination(found, results.subset_metrics[label])
            for label, found in reader.decontamination().items()
            if label in jobs
        },
        "config": {
            "model": model["backend"],
            "model_args": {"pretrained": model["model"]},
            "model_facts": model["facts"],
            **_common_settings([job.setting for job in jobs.values()]),
        },
        "settings": {label: dict(job.setting) for label, job in jobs.items()},
        "model_name": model["name"],
        "date": info.get("created"),
        "lmrun": {
            "run": reader.run.id,
            "manifest_hash": info.get("manifest_hash"),
            "plan_hash": info.get("plan_hash"),
            "fingerprint": model["fingerprint"],
            "usage": usage_as_json(usage_by_model(reader)[model["name"]]),
            "jobs": {label: _integrity(job) for label, job in jobs.items()},
        },
    }


def _scores(results: ModelResults) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """By task or group its scores, and the intervals of these."""
    entries: dict[str, dict[str, Any]] = {}
    intervals: dict[str, dict[str, Any]] = {}
    for label, job in results.jobs.items():
        entries[label] = {"name": label, "alias": _alias(job), "sample_len": job.n_scored}
    for label, group in results.groups.items():
        alias = group.spec["alias"] + _shown_suffix(group.spec["suffix"])
        n = sum(job.n_scored for job in results.leaves(label))
        entries[label] = {"name": label, "alias": alias, **({"sample_len": n} if group.spec["aggregates"] else {})}
    for row in results.rows():
        if row.metric == _NO_SCORE.metric:
            continue
        entry, key = entries[row.label], f"{row.metric},{row.filter}"
        entry[key] = row.value
        entry[f"{row.metric}_stderr,{row.filter}"] = row.stderr
        if row.is_group:
            entry.setdefault("sample_count", {})[key] = row.n
        if row.interval:
            intervals.setdefault(row.label, {})[key] = list(row.interval)
    return entries, intervals


def _marks(jobs: Mapping[str, JobView]) -> dict[str, dict[str, Any]]:
    """What a reader of the scores has to know of them."""
    return {
        "incomplete": {label: job.n_errors for label, job in jobs.items() if job.n_errors or job.status != "scored"},
        "truncated": {label: job.n_truncated for label, job in jobs.items() if job.n_truncated},
        "truncated_rate": {label: rate(job.n_truncated, job.n_docs) for label, job in jobs.items() if job.n_truncated},
        "refused": {label: job.n_refused for label, job in jobs.items() if job.n_refused},
        "refused_rate": {label: rate(job.n_refused, job.n_docs) for label, job in jobs.items() if job.n_refused},
        "skipped": {label: job.n_skipped for label, job in jobs.items() if job.n_skipped},
        "flags": {label: list(found) for label, job in jobs.items() if (found := job_flags(job))},
    }


def _decontamination(
    found: DecontaminationRecord, scores: Mapping[tuple[str, str], Mapping[Subset, MetricRecord]]
) -> dict[str, Any]:
    counts = {"ngram": found.ngram, "docs": found.docs, "short": found.short, "dirty": len(found.overlaps)}
    return {
        **counts,
        "scores": {
            f"{metric},{pipeline}": {subset: asdict(SubsetScore(m.value, m.stderr, m.n)) for subset, m in each.items()}
            for (metric, pipeline), each in scores.items()
        },
    }


def _integrity(job: JobView) -> dict[str, Any]:
    """What tells whether two jobs asked the same of the same data."""
    return {"task_hash": job.task_hash, "datasets": dict(job.datasets), "prompt_hash": job.prompt_hash}


_SETTING_NAMES = {
    "limit": "limit",
    "gen_kwargs": "generation",
    "fewshot_seed": "seed",
    "system_instruction": "system_instruction",
    "apply_chat_template": "apply_chat_template",
    "fewshot_as_multiturn": "fewshot_as_multiturn",
}
"""lm-eval's name of a setting → ours."""


def _common_settings(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all jobs were asked with, under lm-eval's names; null where they differ or nothing was said."""
    common = {}
    for theirs, ours in _SETTING_NAMES.items():
        values = [setting.get(ours) for setting in settings]
        common[theirs] = values[0] if values and all(value == values[0] for value in values) else None
    return common


def file_name(model: str) -> str:
    """A model's label as a file name; labels that only differ in what a file name cannot hold stay apart."""
    safe = re.sub(r"[^A-Za-z0-9._=\[\]-]+", "__", model)
    return safe if safe == model else f"{safe}-{hashlib.blake2b(model.encode(), digest_size=3).hexdigest()}"


def write_results(run: RunDirectory, model: str) -> None:
    """Write ``results/<model>.json``, all of it or nothing."""
    reader = RunReader(run)
    try:
        record = next(m for m in reader.models() if m["name"] == model)
        text = strict_json(lm_eval_layout(reader, record), indent=2, ensure_ascii=False)
    finally:
        reader.close()
    run.results.mkdir(exist_ok=True)
    path = run.results / f"{file_name(model)}.json"
    draft = path.with_suffix(".tmp")
    draft.write_text(text + "\n", encoding="utf-8")
    draft.replace(path)
