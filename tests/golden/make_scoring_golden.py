"""Writes ``scoring.json``: what lm-eval 0.4.13 makes of randomly generated answers, for ``tests/scoring``.

Run it with a Python that has lm-eval 0.4.13, sacrebleu and scikit-learn, and no lmrun::

    python tests/golden/make_scoring_golden.py

The inputs are drawn from a fixed seed, so the file only changes when lm-eval, sacrebleu, scikit-learn or this script do.
Cases on which lm-eval itself stops with an error are left out. Nothing is downloaded.
"""

import json
import os
import random
import warnings
from pathlib import Path
from types import SimpleNamespace

os.environ["DISABLE_MULTIPROC"] = "1"
warnings.filterwarnings("ignore")

from datasets import Dataset
from lm_eval.api.group import Group
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_aggregation
from lm_eval.api.task import ConfigurableTask
from lm_eval.config.group import AggMetricConfig
from lm_eval.evaluator_utils import _compute_task_aggregations
from lm_eval.filters import build_filter_ensemble

rnd = random.Random(20250711)
WORDS = (
    "the answer is (A) (B) (C) A B C D #### 12 $29.00 1,234 -7 3.5 \\boxed{42} **B** yes no Yes. İstanbul ß É a.b "
    "Guilty of Romance : A :B PER: kenya, uganda LOC: none location: x y $$ date : today none person: ali's "
    "('tok', 'NN') ('a', 'VB') [invalid] \n \t , . ! 東京 naïve"
).split(" ")


def text(most=9):
    return rnd.choice(["", " ", "\n"]) + " ".join(rnd.choice(WORDS) for _ in range(rnd.randrange(most)))


# -- filters -----------------------------------------------------------------------------------------------------------

GSM8K_STRICT = {"function": "regex", "regex_pattern": r"#### (\-?[0-9\.\,]+)"}
GSM8K_FLEXIBLE = {"function": "regex", "regex_pattern": r"(-?[$0-9.,]{2,})|(-?[0-9]+)", "group_select": -1}
TAKE = {"function": "take_first"}
MULTI = {"function": "multi_choice_regex", "regex_pattern": r"(\([A-Z]\))", "ignore_case": True}
PIPELINES = [
    [TAKE],
    [{"function": "regex"}, TAKE],
    [GSM8K_STRICT, TAKE],
    [GSM8K_FLEXIBLE, TAKE],
    [{"function": "regex", "regex_pattern": r"(x*)(y*)|(the )", "fallback": " none "}, TAKE],
    [{"function": "regex", "regex_pattern": r"\w+ *", "group_select": 0}, {"function": "majority_vote"}, TAKE],
    [{"function": "remove_whitespace"}, TAKE],
    [{"function": "remove_whitespace"}, {"function": "lowercase"}, {"function": "regex", "regex_pattern": "[ab]"}, TAKE],
    [{"function": "lowercase"}, TAKE],
    [{"function": "uppercase"}, TAKE],
    [{"function": "majority_vote"}, TAKE],
    [{"function": "take_first_k", "k": 2}],
    [{"function": "take_first_k", "k": 2}, {"function": "majority_vote"}, TAKE],
    [{"function": "regex", "regex_pattern": "[ABC]"}, {"function": "map", "mapping_dict": {"A": 0, "B": 1}}, TAKE],
    [{"function": "map", "mapping_dict": {"A": "first"}, "default_value": -1}, TAKE],
    [TAKE, {"function": "lowercase"}],
    [{"function": "regex_pos"}, TAKE],
    [{"function": "format_span"}, TAKE],
    [MULTI, TAKE],
    [{**MULTI, "ignore_punctuation": True, "regexes_to_ignore": ["the ", r"\d"]}, TAKE],
    [{"function": "multi_choice_regex", "group_select": -1, "regex_pattern": r"(yes)|(no)"}, TAKE],
    [],
]


def split_step(step):
    return step["function"], {k: v for k, v in step.items() if k != "function"}


def run_filters(pipeline, resps, doc, idx=0):
    instance = Instance("generate_until", doc, ("", {}), idx)
    instance.resps = resps
    build_filter_ensemble("f", [split_step(s) for s in pipeline]).apply([instance])
    return instance.filtered_resps["f"]


def filter_cases():
    cases = []
    for pipeline in PIPELINES:
        docs = []
        while len(docs) < 12:
            choices = rnd.sample(["Guilty", "Guilty of Romance", "yes", "no", "the answer", "東京", "a.b"], 4)
            responses = [text() for _ in range(3)]
            try:
                filtered = run_filters(pipeline, list(responses), {"choices": choices})
            except (IndexError, AttributeError, TypeError):
                continue
            docs.append({"choices": choices, "responses": responses, "filtered": filtered})
        cases.append({"steps": pipeline, "docs": docs})
    return cases


# -- docs --------------------------------------------------------------------------------------------------------------


def make_task(output_type, metrics, first, has_choices, multiple_input=False):
    """A real task whose one dataset row settles multiple_input and multiple_target."""
    config = {
        "task": "golden",
        "output_type": output_type,
        "custom_dataset": lambda **_: {"test": Dataset.from_list([first])},
        "test_split": "test",
        "doc_to_text": "text",
        "doc_to_target": "target",
        "metric_list": metrics,
    }
    if has_choices:
        config["doc_to_choice"] = "choices"
    return ConfigurableTask(config=config)


def jsonable(value):
    if isinstance(value, tuple | list):
        return [jsonable(v) for v in value]
    if isinstance(value, dict):
        return {k: jsonable(v) for k, v in value.items()}
    return jsonable(value.tolist()) if hasattr(value, "tolist") else value


def score_case(output_type, metrics, docs, has_choices=False, iterations=0, filters=(("none", [TAKE]),)):
    """``docs``: list of (doc, responses); the first one decides the task's flags."""
    task = make_task(output_type, metrics, docs[0][0], has_choices)
    raw, recorded = {}, []
    for name, pipeline in filters:
        for doc, responses in docs:
            filtered = [run_filters(pipeline, list(r), doc, i) for i, r in enumerate(responses)]
            values = task.process_results(doc, filtered)
            recorded.append({"filter": name, **doc, "responses": jsonable(responses), "values": jsonable(values)})
            for metric, value in values.items():
                raw.setdefault((metric, name), []).append(value)
    scores, n = _compute_task_aggregations(task, raw, iterations)
    return {
        "output_type": output_type,
        "metrics": metrics,
        "filters": [{"name": name, "steps": steps} for name, steps in filters],
        "has_choices": has_choices,
        "multiple_input": bool(task.multiple_input),
        "multiple_target": bool(task.multiple_target),
        "docs": recorded,
        "iterations": iterations,
        "scores": jsonable(scores),
        "higher_is_better": task.higher_is_better(),
        "n": n,
    }


def logprob():
    return rnd.choice([round(-rnd.random() * 30, 3), -float(rnd.randrange(1, 4)), round(-rnd.random(), 4)])


def answer():
    return (logprob(), rnd.random() < 0.3)


def choice_doc(make_target, n=None, text="", per_choice=1):
    choices = [(globals()["text"](4).strip() or "x") for _ in range(n or rnd.randrange(2, 6))]
    doc = {"text": text, "target": make_target(choices), "choices": choices}
    return doc, [[answer()] for _ in range(per_choice * len(choices))]


def named(*names, **extra):
    return [{"metric": name, **extra} for name in names]


def choice_cases():
    plain = named("acc", "acc_norm", "acc_bytes", "exact_match", "likelihood")
    plain[-1]["aggregation"] = "bypass"  # likelihood has no aggregation that fits it
    index = lambda choices: rnd.randrange(len(choices))
    yield score_case("multiple_choice", plain, [choice_doc(index) for _ in range(25)], True, 1500)
    odd = lambda choices: rnd.choice([0, 1, -1, len(choices), choices[-1], "no choice"])
    yield score_case("multiple_choice", plain, [choice_doc(odd) for _ in range(15)], True)
    several = lambda choices: [rnd.randrange(len(choices) + 1) for _ in range(rnd.randrange(1, 3))]
    yield score_case("multiple_choice", plain, [choice_doc(several) for _ in range(15)], True)
    docs = [choice_doc(lambda c: " end", 2, rnd.randrange(2)) for _ in range(12)]
    yield score_case("multiple_choice", plain[:3], docs, True, 100)
    docs = [choice_doc(index, per_choice=2) for _ in range(12)]
    yield score_case("multiple_choice", named("acc", "acc_mutual_info", "exact_match"), docs, True, 100)
    docs = [choice_doc(index, 2) for _ in range(30)]
    yield score_case("multiple_choice", named("acc", "f1", "mcc", "brier_score"), docs, True, 2000)
    docs = [choice_doc(index, 9) for _ in range(12)]
    yield score_case("multiple_choice", named("mcc", "brier_score"), docs, True, 1000)
    yield score_case("multiple_choice", named("mcc", aggregation="f1"), [choice_doc(lambda c: 0, 2)] * 3, True, 10)


def logprob_cases():
    docs = [({"text": "", "target": text()}, [[answer()]]) for _ in range(20)]
    yield score_case("loglikelihood", named("perplexity", "acc"), docs, iterations=2500)
    docs = [({"text": "", "target": text(20)}, [[logprob()]]) for _ in range(10)]
    yield score_case(
        "loglikelihood_rolling", named("word_perplexity", "byte_perplexity", "bits_per_byte"), docs, iterations=100
    )


def generate_cases():
    targets = ["12", "1,234", "Yes.", "yes", "İstanbul", "the answer", "3.5", "ß", "", "a.b"]
    noisy = lambda t: rnd.choice([t, t, t.upper(), t.lower(), f" {t}", f"{t}.", f"{t}\0", f"${t}", text(4)])
    filters = (("strict", [GSM8K_STRICT, TAKE]), ("flexible", [GSM8K_FLEXIBLE, TAKE]), ("none", [TAKE]))

    def doc(repeats=1):
        target = rnd.choice(targets)
        return {"text": "", "target": target}, [[noisy(target) for _ in range(repeats)]]

    for options in (
        {},
        {"ignore_case": True},
        {"ignore_punctuation": True},
        {"ignore_numbers": True},
        {"ignore_case": True, "ignore_punctuation": True, "ignore_numbers": True},
        {"regexes_to_ignore": [",", r"\$", r"(?s).*#### ", r"\.$"], "ignore_case": True},
    ):
        metrics = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, **options}]
        yield score_case("generate_until", metrics, [doc() for _ in range(14)], filters=filters, iterations=10)
    yield score_case("generate_until", named("exact_match"), [doc(4) for _ in range(8)], filters=(("all", []),))
    integers = [({"text": "", "target": rnd.randrange(3)}, [[str(rnd.randrange(3))]]) for _ in range(8)]
    yield score_case("generate_until", named("exact_match"), integers)
    chosen = [({"text": "", "target": rnd.randrange(2), "choices": ["yes", "no"]}, [[noisy("yes")]]) for _ in range(8)]
    yield score_case("generate_until", named("exact_match", ignore_case=True), chosen, has_choices=True)
    several = [({"text": "", "target": rnd.sample(targets, 3)}, [[rnd.choice(targets)]]) for _ in range(12)]
    several += [({"text": "", "target": "yes"}, [["y"]]), ({"text": "", "target": []}, [["y"]])]
    yield score_case("generate_until", named("exact_match", "acc"), several, iterations=5)
    yield score_case("generate_until", named("bypass"), [doc() for _ in range(3)], iterations=100)
    yield from translation_cases()


def translation_cases():
    vocabulary = "the a cat dog sat on mat runs quickly blue house . , naïve 東京".split()

    def pair():
        reference = [rnd.choice(vocabulary) for _ in range(rnd.randrange(1, 14))]
        prediction = [w if rnd.random() < 0.7 else rnd.choice(vocabulary) for w in reference]
        return {"text": "", "target": " ".join(reference)}, [[" ".join(prediction)]]

    names = ("bleu", "chrf", "chrf++", "ter")
    yield score_case("generate_until", named(*names), [pair() for _ in range(20)], iterations=100_000)
    yield score_case("generate_until", named("bleu", aggregation="chrf"), [pair() for _ in range(5)], iterations=40)


# -- aggregations and groups -------------------------------------------------------------------------------------------


def aggregation_cases():
    gauss = [round(rnd.gauss(-2, 1), 4) for _ in range(40)]
    labels = lambda k, n: [[rnd.randrange(k), rnd.randrange(k)] for _ in range(n)]
    refs = [[[text(6), text(8)][: rnd.randrange(1, 3)], text(7)] for _ in range(12)]
    sample = {
        "mean": [gauss, [0, 1, 1, 0, 1], [1.0], [0.25, 0.5, 1.0], [rnd.randrange(2) for _ in range(200)]],
        "nanmean": [[*gauss, float("nan")], gauss, [float("nan")] * 3, [1.0, float("nan")]],
        "median": [gauss, [3, 1, 2, 2], [5.0]],
        "perplexity": [gauss, [-float("inf"), -1.0], [-2.5]],
        "weighted_perplexity": [[[x, rnd.randrange(1, 50)] for x in gauss]],
        "bits_per_byte": [[[x, rnd.randrange(1, 50)] for x in gauss]],
        "brier_score": [[[rnd.randrange(3), [0.2, 0.5, 0.3]] for _ in range(9)], [[-1, [0.25, 0.75]]]],
        "f1": [labels(2, 30), [[1, 1], [1, 2], [2, 2]], [[0, 0]] * 3, [[1, 1]] * 3, [[1, 0], [0, 1]]],
        "matthews_corrcoef": [labels(2, 30), labels(5, 30), [[0, 0]] * 3, [[0, 1], [1, 0], [-100, 1]]],
        "bypass": [[None, None]],
        "bleu": [refs],
        "chrf": [refs],
        "chrf++": [refs],
        "ter": [refs],
    }
    for name, value_lists in sample.items():
        for values in value_lists:
            for iterations in (0, 1500 if name not in ("bleu", "chrf", "chrf++", "ter") else 300):
                metric = name if name in ("bleu", "chrf", "chrf++", "ter") else "m"
                task = SimpleNamespace(task_name="t", aggregation=lambda m=metric, n=name: {m: get_aggregation(n)})
                scores, _ = _compute_task_aggregations(task, {(metric, "f"): values}, iterations)
                yield {
                    "aggregation": name,
                    "metric": metric,
                    "values": values,
                    "iterations": iterations,
                    "value": jsonable(scores[f"{metric},f"]),
                    "stderr": jsonable(scores[f"{metric}_stderr,f"]),
                }


def group_cases():
    for _ in range(8):
        leaves = {}
        for i in range(rnd.randrange(1, 6)):
            leaf = {"sample_len": rnd.randrange(2, 300)}
            for metric in rnd.sample(["acc", "acc_norm"], rnd.randrange(1, 3)):
                for name in rnd.sample(["none", "strict", "flexible"], rnd.randrange(1, 4)):
                    leaf[f"{metric},{name}"] = round(rnd.random(), 4)
                    leaf[f"{metric}_stderr,{name}"] = round(rnd.random() / 10, 5) if rnd.random() < 0.9 else "N/A"
            leaves[f"t{i}"] = leaf
        for filters, by_size in ((None, True), (None, False), ("none", True), (["strict", "missing"], False)):
            entry = {"metric": "acc", "aggregation": "mean", "filter_list": filters, "weight_by_size": by_size}
            group = Group("g", aggregate_metric_list=[AggMetricConfig(**entry), AggMetricConfig(metric="acc_norm")])
            group.get_all_tasks = lambda names=tuple(leaves): [SimpleNamespace(task_name=n) for n in names]
            yield {
                "aggregates": [entry, {"metric": "acc_norm"}],
                "leaves": list(leaves.values()),
                "result": jsonable(group.aggregate(leaves)),
            }


def mc2_cases():
    from lm_eval.tasks.truthfulqa.utils import process_results_mc2

    for _ in range(15):
        labels = [1, 0, *(rnd.randrange(2) for _ in range(rnd.randrange(12)))]
        results = [answer() for _ in labels]
        value = process_results_mc2({"mc2_targets": {"labels": labels}}, results)["acc"]
        yield {"labels": labels, "logprobs": [ll for ll, _ in results], "value": jsonable(value)}


def main():
    cases = {
        "filters": filter_cases(),
        "tasks": [*choice_cases(), *logprob_cases(), *generate_cases()],
        "aggregations": list(aggregation_cases()),
        "groups": list(group_cases()),
        "mc2": list(mc2_cases()),
    }
    path = Path(__file__).with_name("scoring.json")
    path.write_text(json.dumps(cases, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
