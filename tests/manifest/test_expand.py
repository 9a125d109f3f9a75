"""Lists as values: one variant per value, every combination of several."""

from __future__ import annotations

from .conftest import GOOD, Load

MODEL, TASK = GOOD[: GOOD.index("[[tasks]]")], GOOD[GOOD.index("[[tasks]]") :]


def test_axes_of_a_task_combine_in_written_order(load: Load) -> None:
    text = MODEL + '[[tasks]]\nlimit = [1, 0.5]\nname = ["a", "b"]\nnum_fewshot = [0, 5]\n'
    found = [(task.limit, task.name, task.num_fewshot) for task in load(text).tasks]
    assert found == [(limit, name, shots) for limit in (1, 0.5) for name in ("a", "b") for shots in (0, 5)]


def test_every_scalar_key_of_a_task_can_be_an_axis(load: Load) -> None:
    text = GOOD + (
        'apply_chat_template = [true]\nfewshot_as_multiturn = [true, false]\nsystem_instruction = ["", "Be brief."]\n'
        "seed = [1, 2]\nrobust = [false, true]\n"
    )
    found = [(task.fewshot_as_multiturn, task.system_instruction, task.seed, task.robust) for task in load(text).tasks]
    assert len(set(found)) == 16


def test_an_axis_in_defaults_is_one_of_every_task_and_varies_fastest(load: Load) -> None:
    text = (
        MODEL
        + '[[tasks]]\nname = ["a", "b"]\n[[tasks]]\nname = "c"\nnum_fewshot = 9\n[defaults]\nnum_fewshot = [0, 5]\n'
    )
    found = [(task.name, task.num_fewshot) for task in load(text).tasks]
    assert found == [("a", 0), ("a", 5), ("b", 0), ("b", 5), ("c", 9)]


def test_variants_of_a_model_are_named_after_their_values(load: Load) -> None:
    text = MODEL + 'name = "demo"\ndtype = ["float32", "bfloat16"]\ntrust_remote_code = [false, true]\n' + TASK
    models = load(text).models
    assert [model.name for model in models] == [
        "demo[dtype=float32,trust_remote_code=false]",
        "demo[dtype=float32,trust_remote_code=true]",
        "demo[dtype=bfloat16,trust_remote_code=false]",
        "demo[dtype=bfloat16,trust_remote_code=true]",
    ]
    assert models[1].options["dtype"] == "float32"
    assert models[1].options["trust_remote_code"] is True


def test_an_axis_of_one_value_still_names_the_variant(load: Load) -> None:
    assert load(MODEL + 'name = "d"\nmax_length = [64]\n' + TASK).models[0].name == "d[max_length=64]"


def test_several_models_without_a_name_are_called_by_their_ids(load: Load) -> None:
    text = '[[models]]\nbackend = "hf"\nmodel = ["org/a", "org/b"]\nrevision = ["x", "y"]\n' + TASK
    assert [model.name for model in load(text).models] == [
        "a[revision=x]",
        "a[revision=y]",
        "b[revision=x]",
        "b[revision=y]",
    ]


def test_several_models_with_one_name_are_told_apart_by_their_ids(load: Load) -> None:
    text = '[[models]]\nname = "m"\nbackend = "hf"\nmodel = ["org/a", "org/b"]\n' + TASK
    assert [model.name for model in load(text).models] == ["m[model=org/a]", "m[model=org/b]"]


def test_delimiters_can_be_an_axis_of_tables(load: Load) -> None:
    text = MODEL + 'reasoning = ["auto", { start = "<t>", end = "</t>" }]\n' + TASK
    assert [model.options["reasoning"] for model in load(text).models] == ["auto", {"start": "<t>", "end": "</t>"}]


def test_a_device_map_table_is_no_axis(load: Load) -> None:
    (model,) = load(MODEL + 'device_map = { "model.embed" = 0, lm_head = "cpu" }\n' + TASK).models
    assert model.options["device_map"] == {"model.embed": 0, "lm_head": "cpu"}


def test_stop_strings_are_no_axis(load: Load) -> None:
    (task,) = load(GOOD + 'generation = { until = ["a", "b"], stop_ids = [1, 2] }\n').tasks
    assert task.generation == {"until": ["a", "b"], "stop_ids": [1, 2]}
