"""Run the real lm-eval over an offline mirror and write down what it asks and how it scores.

Executed by lm-eval's own Python, as a plain script that knows nothing of lmrun::

    python lmeval_runner.py PLAN.json

``PLAN.json``: ``{"mirror": DIR, "names": FILE, "cases": [CASE, ...]}``. ``names`` (optional) gets the names of all
tasks, groups and tags. One process runs all cases, because its start takes long. A case (see
:class:`tests.parity.cases.Case`) names tasks, settings, a model (``"stub"`` or a folder with a transformers model) and
the file ``out`` that gets the dump, a gzipped JSON object:

``requests``  per task the requests in the order in which they were built: type, context, continuation, generation,
              doc_id, idx, repeats, resps (one per repeat)
``docs``      per task and filter the metrics of every doc
``results``   and ``groups``, ``versions``, ``n-shot``, ``n-samples``, ``higher_is_better``, ``group_subtasks``
``error``     instead of these where lm-eval raised

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
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_EVALUATE_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
# Same bootstrap draws as with the process pool, without taking every core.
os.environ.setdefault("DISABLE_MULTIPROC", "1")

log = logging.getLogger("lmeval_runner")
KINDS = ("loglikelihood", "loglikelihood_rolling", "generate_until")
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


def read_from_mirror(mirror: Path, folders: Sequence[str]) -> Callable[..., Any]:
    """A stand-in for ``datasets.load_dataset`` that finds hub datasets in the mirror, and files below ``folders``."""
    datasets = import_module("datasets")
    real = datasets.load_dataset
    manifest = json.loads((mirror / "MANIFEST.json").read_text())
    configs: dict[str, dict[str, dict[str, Any]]] = {}
    for row in manifest["datasets"]:
        configs.setdefault(row["hub_id"], {})[row["config"]] = row["splits"]
    loaded: dict[tuple[str, str], Any] = {}

    class Splits(datasets.DatasetDict):  # type: ignore[misc, name-defined]
        def __missing__(self, split: str) -> Any:
            log.warning("split %r is not in the mirror: empty", split)
            return next(iter(self.values())).select(range(0))

    def find(path: str, name: str | None) -> tuple[str, str]:
        hub_id = manifest["aliases"].get(path, path)
        known = configs.get(hub_id)
        if known is None:
            raise FileNotFoundError(f"not in mirror: {path}")
        for key in (name, "default", next(iter(known)) if len(known) == 1 else None):
            if key in known:
                return hub_id, str(key)
        raise FileNotFoundError(f"not in mirror: {path}, config {name}")

    def load_dataset(path: str, name: str | None = None, *rest: Any, **options: Any) -> Any:
        if path in LOCAL_BUILDERS:
            options.pop("trust_remote_code", None)
            if options.get("data_files"):
                options["data_files"] = absolute_files(options["data_files"], folders)
            return real(path, name, *rest, **options)
        key = find(path, name)
        if key not in loaded:
            files = {split: str(mirror / facts["file"]) for split, facts in configs[key[0]][key[1]].items()}
            loaded[key] = Splits(real("parquet", data_files=files))
        return loaded[key][options["split"]] if options.get("split") else loaded[key]

    return load_dataset


def make_stub() -> Any:
    """A model whose answers depend on the request's text alone; its chat template is the messages as JSON."""
    base = import_module("lm_eval.api.model").LM

    class Stub(base):  # type: ignore[misc, valid-type]
        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            joined = ["|".join(r.args) for r in requests]
            return [(-10 * text_share(text), text_share("g" + text) < 0.3) for text in joined]

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            return [-100 * text_share(r.args[0]) for r in requests]

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            return [f"The answer is {int(50 * text_share(r.args[0]))}." for r in requests]

        def apply_chat_template(self, messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            return json.dumps(messages, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

        @property
        def tokenizer_name(self) -> str:
            return "stub"

    return Stub()


def make_model(name: str, batch_size: int) -> Any:
    if name == "stub":
        return make_stub()
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
            bootstrap_iters=case["bootstrap_iters"],
        )
    finally:
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
    vars(datasets)["load_dataset"] = read_from_mirror(Path(plan["mirror"]), folders)
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
                models[key] = make_model(*key)
            folder = case["include_path"]
            if folder not in managers:
                managers[folder] = task_manager(include_path=folder)
            dump = run_case(case, models[key], managers[folder])
        except Exception as error:  # noqa: BLE001 - one case that lm-eval cannot run must not end the others
            dump = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        dump["case"] = case
        dump["seconds"] = round(time.monotonic() - started, 2)
        write(Path(case["out"]), dump)
        log.info("%s %.1f s %s", case["label"], dump["seconds"], dump.get("error", ""))


if __name__ == "__main__":
    main()
