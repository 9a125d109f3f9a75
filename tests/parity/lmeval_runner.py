"""Run the real lm-eval over an offline mirror and write down what it asks and how it scores.

Executed by lm-eval's own Python, as a plain script that knows nothing of lmrun::

    python lmeval_runner.py PLAN.json

``PLAN.json``: ``{"mirror": DIR, "names": FILE, "replies": [TEXT, ...], "cases": [CASE, ...]}``. ``names`` (optional)
gets the names of all tasks, groups and tags; ``replies`` are what the stub says. One process runs all cases, because
its start takes long. A case (see :class:`tests.parity.cases.Case`) names tasks, settings, a model (``"stub"`` or a
folder with a transformers model) and the file ``out`` that gets the dump, a gzipped JSON object:

``requests``  per task the requests in the order in which they were built: type, context, continuation, generation,
              doc_id, idx, repeats, resps (one per repeat)
``docs``      per task and filter the metrics of every doc
``results``   and ``groups``, ``versions``, ``n-shot``, ``n-samples``, ``higher_is_better``, ``group_subtasks``
``error``     instead of these where lm-eval raised
``data``      the data files that were read, each with its checksum in the mirror's manifest

A split that a task declares and the mirror lacks is empty here, so that zero-shot tasks run without their train split.
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_EVALUATE_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
# Same bootstrap draws as with the process pool, without taking every core.
os.environ.setdefault("DISABLE_MULTIPROC", "1")

log = logging.getLogger("lmeval_runner")
KINDS = ("loglikelihood", "loglikelihood_rolling", "generate_until")
BOOTSTRAP_ITERS = 100_000
"""lm-eval's own number of draws."""
LOCAL_BUILDERS = ("json", "csv", "parquet", "text")


def text_share(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def absolute_files(files: Any, folders: Sequence[str]) -> Any:
    """Data files as a task names them, relative to its own folder, found below ``folders``."""
    if isinstance(files, dict):
        return {key: absolute_files(value, folders) for key, value in files.items()}
    if isinstance(files, list):
        return [absolute_files(value, folders) for value in files]
    found = [path for folder in folders for path in Path(folder).rglob(files)] if not Path(files).is_absolute() else []
    return str(found[0]) if found else files


class MirrorReader:
    """A stand-in for ``datasets.load_dataset`` that finds hub datasets in the mirror, and files below ``folders``."""

    def __init__(self, mirror: Path, folders: Sequence[str]) -> None:
        self.mirror = mirror
        self.folders = folders
        self.used: dict[str, str] = {}
        """Files that were read since this was last cleared, and their checksums."""
        datasets = import_module("datasets")
        self._real = datasets.load_dataset
        self._splits = split_mapping(datasets.DatasetDict)
        manifest = json.loads((mirror / "MANIFEST.json").read_text())
        self._aliases: dict[str, str] = manifest["aliases"]
        self._rows: dict[str, list[dict[str, Any]]] = {}
        for row in manifest["datasets"]:
            self._rows.setdefault(row["hub_id"], []).append(row)
        self._loaded: dict[str, Any] = {}

    def __call__(self, path: str, name: str | None = None, *rest: Any, **options: Any) -> Any:
        files = options.get("data_files")
        if path in LOCAL_BUILDERS and "://" not in json.dumps(files):
            options.pop("trust_remote_code", None)
            if files:
                options["data_files"] = absolute_files(files, self.folders)
            return self._real(path, name, *rest, **options)
        splits = {split: self._load(facts) for split, facts in self._find(path, name, files).items()}
        return splits[options["split"]] if options.get("split") else self._splits(splits)

    def _find(self, path: str, name: str | None, files: Any) -> dict[str, dict[str, str]]:
        rows = self._rows.get(path) or self._rows.get(self._aliases.get(path, path))
        if rows is None:
            raise FileNotFoundError(f"not in mirror: {path}")
        if files:
            rows = [row for row in rows if row.get("data_files") == files]
        elif name is not None:
            rows = [row for row in rows if row["config"] == name]
        elif len(rows) > 1:
            rows = [row for row in rows if row["config"] == "default"]
        if len(rows) != 1:
            raise FileNotFoundError(f"not in mirror: {path}, config {name}")
        return dict(rows[0]["splits"])

    def _load(self, facts: dict[str, str]) -> Any:
        file = facts["file"]
        self.used[file] = facts["sha256"]
        if file not in self._loaded:
            # One split at a time: those of one dataset need not agree in their columns.
            loaded = self._real("parquet", data_files={"only": str(self.mirror / file)})
            self._loaded[file] = loaded["only"]
        return self._loaded[file]


def split_mapping(base: Any) -> Any:
    class Splits(base):  # type: ignore[misc]
        def __missing__(self, split: str) -> Any:
            log.warning("split %r is not in the mirror: empty", split)
            return next(iter(self.values())).select(range(0))

    return Splits


def forget_processed_docs() -> None:
    """Remove what ``datasets`` keeps of earlier ``map`` and ``filter`` calls, which may have drawn random numbers."""
    config = import_module("datasets.config")
    for file in Path(config.HF_DATASETS_CACHE).rglob("cache-*.arrow"):
        file.unlink()


def settle_random_docs(manager: Any, names: Sequence[str]) -> None:
    """Let tasks whose docs depend on random numbers draw them as in a run of that task alone, the first on a machine.

    lm-eval keeps what the first run drew, whatever that run was; so what a later one or a group sees is chance.
    """
    leaves = [name for name in leaves_of(manager, names) if draws_random_numbers(manager, name)]
    if leaves:
        forget_processed_docs()
    for name in leaves:
        import_module("random").seed(0)
        import_module("numpy").random.seed(1234)
        manager.load([name])
        forget_modules(Path(manager.task_index[name].yaml_path).parent)


def forget_modules(folder: Path) -> None:
    """Let code in a folder be imported anew: a generator that it keeps then starts anew too."""
    for name, module in list(sys.modules.items()):
        if folder in Path(getattr(module, "__file__", None) or "/").parents:
            del sys.modules[name]


def leaves_of(manager: Any, names: Sequence[Any]) -> Iterator[str]:
    """Names of all tasks of the index at or beneath some members of groups."""
    for name in names:
        if isinstance(name, dict):
            yield from leaves_of(manager, [name.get("group", name.get("task")), *as_list(name.get("task"))])
        elif name in manager.task_index:
            entry = manager.task_index[name]
            members = as_list((entry.cfg or {}).get("task")) if "group" in (entry.cfg or {}) else []
            yield from leaves_of(manager, members) if members else [name]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def draws_random_numbers(manager: Any, name: str) -> bool:
    """Whether code beside the file of a task uses a random generator."""
    path = manager.task_index[name].yaml_path
    return path is not None and any("random" in file.read_text() for file in Path(path).parent.glob("*.py"))


def make_stub(replies: Sequence[str]) -> Any:
    """A model whose answers depend on the request's text alone; its chat template is the messages as JSON."""

    def reply(text: str) -> str:
        number, letter = int(50 * text_share(text)), "ABCDE"[int(5 * text_share("l" + text))]
        chosen = replies[int(len(replies) * text_share("r" + text))]
        return chosen.replace("{number}", str(number)).replace("{letter}", letter)

    base = import_module("lm_eval.api.model").LM

    class Stub(base):  # type: ignore[misc, valid-type]
        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            joined = ["|".join(r.args) for r in requests]
            return [(-10 * text_share(text), text_share("g" + text) < 0.3) for text in joined]

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            return [-100 * text_share(r.args[0]) for r in requests]

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            return [reply(r.args[0]) for r in requests]

        def apply_chat_template(self, messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            return json.dumps(messages, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

        @property
        def tokenizer_name(self) -> str:
            return "stub"

    return Stub()


def make_model(name: str, batch_size: int, replies: Sequence[str]) -> Any:
    if name == "stub":
        return make_stub(replies)
    hf = import_module("lm_eval.models.huggingface").HFLM
    return hf(pretrained=name, dtype="float32", device="cpu", batch_size=batch_size)


def recorded(model: Any, seen: list[tuple[str, Any, tuple[Any, ...]]]) -> dict[str, Any]:
    """Wrap the three methods of ``model`` so that ``seen`` gets every request, in order; returns the originals."""
    originals = {kind: getattr(model, kind) for kind in KINDS}

    def wrap(kind: str) -> Callable[..., Any]:
        def method(requests: Sequence[Any], *rest: Any, **options: Any) -> Any:
            last: Any = None
            for request in requests:
                if request is not last:  # repeats arrive as the same object again
                    seen.append((kind, request, copy.deepcopy(request.args)))
                last = request
            return originals[kind](requests, *rest, **options)

        return method

    for kind in KINDS:
        setattr(model, kind, wrap(kind))
    return originals


def request_row(kind: str, request: Any, args: tuple[Any, ...]) -> dict[str, Any]:
    row: dict[str, Any] = {"doc_id": request.doc_id, "idx": request.idx, "type": kind, "repeats": request.repeats}
    if kind == "loglikelihood":
        row.update(context=args[0], continuation=args[1])
    elif kind == "loglikelihood_rolling":
        row.update(context="", continuation=args[0])
    else:
        row.update(context=args[0], generation=args[1])
    row["resps"] = request.resps
    return row


def doc_row(sample: dict[str, Any]) -> dict[str, Any]:
    return {
        "doc_id": sample["doc_id"],
        "metrics": {name: sample[name] for name in sample["metrics"]},
        "filtered": sample["filtered_resps"],
        "target": sample["target"],
    }


def plain(value: Any) -> Any:
    """JSON for numpy scalars and everything else that is no JSON value."""
    if hasattr(value, "item"):
        return value.item()
    return sorted(value) if isinstance(value, set) else str(value)


def run_case(case: dict[str, Any], model: Any, manager: Any) -> dict[str, Any]:
    seen: list[tuple[str, Any, tuple[Any, ...]]] = []
    originals = recorded(model, seen)
    metrics = vars(import_module("lm_eval.api.metrics"))
    bootstrap_stderr = metrics["bootstrap_stderr"]
    if not case["bootstrap"]:
        metrics["bootstrap_stderr"] = lambda *_, **__: float("nan")
    try:
        evaluated = import_module("lm_eval").simple_evaluate(
            model=model,
            tasks=case["tasks"],
            num_fewshot=case["num_fewshot"],
            limit=case["limit"],
            task_manager=manager,
            system_instruction=case["system_instruction"],
            apply_chat_template=case["chat"],
            fewshot_as_multiturn=case["multiturn"],
            bootstrap_iters=BOOTSTRAP_ITERS if case["stderr"] else 0,
            gen_kwargs=case["generation"],
        )
    finally:
        metrics["bootstrap_stderr"] = bootstrap_stderr
        for kind, method in originals.items():
            setattr(model, kind, method)
    dump: dict[str, Any] = {"requests": {}, "docs": {}}
    for kind, request, args in seen:
        dump["requests"].setdefault(request.task_name, []).append(request_row(kind, request, args))
    for task, samples in evaluated["samples"].items():
        filters: dict[str, list[Any]] = {}
        for sample in samples:
            filters.setdefault(sample["filter"], []).append(doc_row(sample))
        dump["docs"][task] = filters
    for key in ("results", "groups", "versions", "n-shot", "n-samples", "higher_is_better", "group_subtasks"):
        dump[key] = evaluated.get(key, {})
    return dump


def write(path: Path, dump: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with gzip.open(partial, "wt", compresslevel=3, encoding="utf-8") as file:
        json.dump(dump, file, ensure_ascii=True, default=plain)
    partial.replace(path)


def main() -> None:
    logging.basicConfig(level=logging.ERROR, format="%(asctime)s %(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    plan = json.loads(Path(sys.argv[1]).read_text())
    datasets = import_module("datasets")
    folders = sorted({case["include_path"] for case in plan["cases"] if case["include_path"]})
    reader = MirrorReader(Path(plan["mirror"]), folders)
    vars(datasets)["load_dataset"] = reader
    datasets.disable_progress_bars()
    # Facts about the machine: nothing that is compared, and half of the time of a small case.
    vars(import_module("lm_eval.evaluator"))["add_env_info"] = lambda results: None
    task_manager = import_module("lm_eval.tasks").TaskManager
    if plan.get("names"):
        Path(plan["names"]).write_text(json.dumps(task_manager().all_tasks))
    models: dict[tuple[str, int], Any] = {}
    managers: dict[str | None, Any] = {}
    for case in plan["cases"]:
        started = time.monotonic()
        try:
            key = (case["model"], case["batch_size"])
            if key not in models:
                models[key] = make_model(*key, plan["replies"])
            folder = case["include_path"]
            if folder not in managers:
                managers[folder] = task_manager(include_path=folder)
            reader.used.clear()
            settle_random_docs(managers[folder], case["tasks"])
            dump = run_case(case, models[key], managers[folder])
        except Exception as error:  # noqa: BLE001 - one case that lm-eval cannot run must not end the others
            dump = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        dump["case"] = case
        dump["data"] = dict(reader.used)
        dump["seconds"] = round(time.monotonic() - started, 2)
        write(Path(case["out"]), dump)
        log.info("%s %.1f s %s", case["label"], dump["seconds"], dump.get("error", ""))


if __name__ == "__main__":
    main()
