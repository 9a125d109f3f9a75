"""From a task and its rows to requests and facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmrun.code import TaskFunctions
from lmrun.errors import DataError, TaskError
from lmrun.requests import Message, Request
from lmrun.tasks import PromptSettings, Task, TaskFacts
from tests.tasks.helpers import QA, FakeData, Row, config, prompts, qa_rows, requests, task, told, write

CHOICE = """
task: mc
dataset_path: some/dataset
validation_split: validation
output_type: multiple_choice
doc_to_text: "{{q}}"
doc_to_target: label
doc_to_choice: ["yes", "no"]
"""
CHOICE_ROWS: list[Row] = [{"q": f"Q{i}", "label": i % 2} for i in range(6)]

GAP = """
task: gap
dataset_path: some/dataset
training_split: train
validation_split: validation
output_type: multiple_choice
doc_to_text: "{{ answer|int - 1 }}"
doc_to_target: "{{ s[s.index('_') + 1:].strip() }}"
doc_to_choice: "{% set b = s[:s.index('_')] %}{{ [b + o1, b + o2] }}"
"""
GAP_ROWS: list[Row] = [
    {"s": "The _ barked at the cat.", "o1": "dog", "o2": "tree", "answer": "1"},
    {"s": "I drank the _ with it's cup.", "o1": 'the "road"', "o2": "tea", "answer": "2"},
]


class TestRequests:
    def test_generate_until(self, tmp_path: Path) -> None:
        ((request,), *_) = requests(task(tmp_path, "generation_kwargs: {until: ['.'], max_gen_toks: 5}"))
        assert request == Request("generate_until", "Q0?", generation={"until": ["."], "max_gen_toks": 5})

    def test_loglikelihood_adds_no_delimiter(self, tmp_path: Path) -> None:
        ((request,), *_) = requests(task(tmp_path, "output_type: loglikelihood\ndoc_to_target: ' {{a}}'"))
        assert request == Request("loglikelihood", "Q0?", " a0")

    def test_rolling_scores_the_target_and_has_no_prompt(self, tmp_path: Path) -> None:
        ((request,), *_) = requests(task(tmp_path, "output_type: loglikelihood_rolling\ndescription: unused"))
        assert request == Request("loglikelihood_rolling", "", "a0")

    def test_multiple_choice_asks_for_every_choice(self, tmp_path: Path) -> None:
        (first, *_) = requests(task(tmp_path, base=CHOICE, validation=CHOICE_ROWS))
        assert first == (Request("loglikelihood", "Q0", " yes"), Request("loglikelihood", "Q0", " no"))

    def test_mutual_information_asks_for_the_choices_alone_too(self, tmp_path: Path) -> None:
        text = "metric_list: [{metric: acc}, {metric: acc_mutual_info}]\ntarget_delimiter: '-'"
        (first, *_) = requests(task(tmp_path, text, base=CHOICE, validation=CHOICE_ROWS))
        assert [(r.context, r.continuation) for r in first] == [
            ("Q0", "-yes"),
            ("Q0", "-no"),
            ("", "-yes"),
            ("", "-no"),
        ]

    def test_choices_as_contexts(self, tmp_path: Path) -> None:
        found = task(tmp_path, base=GAP, train=GAP_ROWS, validation=GAP_ROWS)
        assert found.multiple_input
        assert [[(r.context, r.continuation) for r in asked] for asked in requests(found)] == [
            [("The dog", " barked at the cat."), ("The tree", " barked at the cat.")],
            [('I drank the the "road"', " with it's cup."), ("I drank the tea", " with it's cup.")],
        ]
        assert found.facts(1, GAP_ROWS[1]) == TaskFacts(
            1, GAP_ROWS[1], "with it's cup.", 1, ['I drank the the "road"', "I drank the tea"]
        )

    def test_examples_of_choices_as_contexts_show_the_right_one(self, tmp_path: Path) -> None:
        found = task(tmp_path, base=GAP, train=GAP_ROWS[1:], validation=GAP_ROWS[:1] * 2)
        # None == None: no few-shot split and no test split, so the doc is kept out and two docs are drawn for one.
        with pytest.raises(TaskError):
            requests(found, PromptSettings(num_fewshot=1))
        found = task(tmp_path, "test_split: validation", base=GAP, train=GAP_ROWS[1:], validation=GAP_ROWS[:1])
        assert prompts(found, PromptSettings(num_fewshot=1)) == ["I drank the tea with it's cup.\n\nThe dog"]

    def test_repeats_of_a_request_follow_one_another(self, tmp_path: Path) -> None:
        (first, *_) = requests(task(tmp_path, "repeats: 2", base=CHOICE, validation=CHOICE_ROWS))
        assert [(r.continuation, r.sample_index, r.seed) for r in first] == [
            (" yes", 0, None),
            (" yes", 1, None),
            (" no", 0, None),
            (" no", 1, None),
        ]

    @pytest.mark.parametrize(
        ("generation", "seeds"),
        [
            ("{do_sample: true}", [7, 8]),
            ("{temperature: 0.5}", [7, 8]),
            ("{temperature: 0.5, do_sample: false}", [None, None]),
            ("{temperature: 0}", [None, None]),
            ("{}", [None, None]),
        ],
    )
    def test_a_sampled_generation_has_a_seed_of_its_own(
        self, tmp_path: Path, generation: str, seeds: list[int | None]
    ) -> None:
        found = task(tmp_path, f"repeats: 2\ngeneration_kwargs: {generation}")
        (first, *_) = requests(found, PromptSettings(seed=7))
        assert [r.seed for r in first] == seeds

    def test_generation_settings_go_over_those_of_the_task(self, tmp_path: Path) -> None:
        found = task(tmp_path, "generation_kwargs: {until: ['.'], max_gen_toks: 5}")
        settings = PromptSettings(generation={"max_gen_toks": 9, "top_p": 0.5})
        ((request,), *_) = requests(found, settings)
        assert request.generation == {"until": ["."], "max_gen_toks": 9, "top_p": 0.5}
        recorded = found.config_with(settings)
        assert (recorded["generation_kwargs"], recorded["num_fewshot"]) == (request.generation, 0)


class TestPrompts:
    """Prompts of lm-eval on rows like these, two examples, seed 1234."""

    def few(self, folder: Path, text: str = "", n: int = 2, **settings: Any) -> Any:
        rows = qa_rows(12, "T")
        found = task(folder, "training_split: train\n" + text, test=qa_rows(3), train=rows)
        return prompts(found, PromptSettings(num_fewshot=n, **settings))

    def test_defaults(self, tmp_path: Path) -> None:
        assert self.few(tmp_path) == [
            "TQ7? Ta7\n\nTQ1? Ta1\n\nQ0?",
            "TQ0? Ta0\n\nTQ1? Ta1\n\nQ1?",
            "TQ9? Ta9\n\nTQ0? Ta0\n\nQ2?",
        ]

    def test_a_target_with_a_space_gets_two(self, tmp_path: Path) -> None:
        assert self.few(tmp_path, "doc_to_target: ' {{a}}'\ndescription: 'Desc: '")[0].startswith("Desc: TQ7?  Ta7\n\n")

    def test_gen_prefix(self, tmp_path: Path) -> None:
        assert self.few(tmp_path, "gen_prefix: 'Answer:'")[0] == ("TQ7? Answer: Ta7\n\nTQ1? Answer: Ta1\n\nQ0? Answer:")

    def test_system_instruction_and_description(self, tmp_path: Path) -> None:
        assert self.few(tmp_path, "description: 'About {{q}} '", n=0, system_instruction="SYS")[1] == (
            "SYS\n\nAbout Q1? Q1?"
        )

    def test_delimiters_of_examples_and_of_the_doc_are_apart(self, tmp_path: Path) -> None:
        text = "target_delimiter: '|'\nfewshot_config: {fewshot_delimiter: '#', target_delimiter: '='}"
        assert self.few(tmp_path, text)[0] == "TQ7?=Ta7#TQ1?=Ta1#Q0?"

    def test_a_chat_of_turns(self, tmp_path: Path) -> None:
        found = self.few(tmp_path, apply_chat_template=True, fewshot_as_multiturn=True, system_instruction="SYS")
        assert [(m["role"], m["content"]) for m in found[0]] == [
            ("system", "SYS"),
            ("user", "TQ7?"),
            ("assistant", "Ta7"),
            ("user", "TQ1?"),
            ("assistant", "Ta1"),
            ("user", "Q0?"),
        ]

    def test_a_chat_in_one_turn(self, tmp_path: Path) -> None:
        found = self.few(tmp_path, apply_chat_template=True)
        assert found[0] == [{"role": "user", "content": "TQ7? Ta7\n\nTQ1? Ta1\n\nQ0?"}]

    @pytest.mark.parametrize(
        ("prefix", "continuation"), [("", "yes"), ("gen_prefix: 'A:'", " yes"), ("gen_prefix: 'A: '", "yes")]
    )
    def test_a_chat_template_ends_the_prompt_itself(self, tmp_path: Path, prefix: str, continuation: str) -> None:
        found = task(tmp_path, prefix, base=CHOICE, validation=CHOICE_ROWS)
        ((first, _), *_) = requests(found, PromptSettings(apply_chat_template=True))
        assert first.continuation == continuation
        assert isinstance(first.context, tuple)
        assert first.context[0] == Message("user", "Q0")

    def test_examples_from_a_list_in_the_task(self, tmp_path: Path) -> None:
        text = "fewshot_config: {sampler: first_n, samples: [{q: S, a: s}, {q: U, a: u}]}"
        assert prompts(task(tmp_path, text), PromptSettings(num_fewshot=2))[0] == "S s\n\nU u\n\nQ0?"

    def test_an_index_of_a_choice_is_written_as_the_choice(self, tmp_path: Path) -> None:
        found = task(
            tmp_path, "fewshot_split: dev\nfewshot_config: {sampler: first_n}", base=CHOICE, validation=CHOICE_ROWS,
            dev=[{"q": "E", "label": 1}],
        )  # fmt: skip
        assert prompts(found, PromptSettings(num_fewshot=1))[0] == "E no\n\nQ0"


class TestExclusion:
    """The doc is kept out of its own examples iff the few-shot split and the test split are the same, be it none."""

    @pytest.mark.parametrize(
        ("splits", "kept_out"),
        [
            ("test_split: test\nfewshot_split: test", True),
            ("validation_split: validation", True),
            ("training_split: train\nvalidation_split: validation", True),
            ("validation_split: validation\nfewshot_split: validation", False),
            ("test_split: test", False),
            ("test_split: test\ntraining_split: train", False),
            ("test_split: test\nfewshot_config: {samples: [{q: x, a: y}]}", False),
        ],
    )
    def test_rule(self, tmp_path: Path, splits: str, kept_out: bool) -> None:
        """Every split has the one row: kept out, nothing is left to show; else the doc is its own example."""
        base = QA.replace("test_split: test\n", "") + splits + "\n"
        row = [{"q": "Q", "a": "A"}]
        found = task(tmp_path, base=base, test=row, validation=row, train=row)
        settings = PromptSettings(num_fewshot=1)
        if kept_out:
            with pytest.raises(TaskError) as caught:
                prompts(found, settings)
            assert "too few" not in caught.value.message
            assert "2 are needed" in told(caught.value)
        else:
            assert prompts(found, settings)[0].count("\n\n") == 1


class TestNumFewshot:
    @pytest.mark.parametrize(
        ("stated", "asked", "used"),
        [("", None, 0), ("", 3, 3), ("2", None, 2), ("2", 3, 3), ("2", 0, 0), ("0", 3, 0), ("0", None, 0)],
    )
    def test_the_run_decides_unless_the_task_says_zero(
        self, tmp_path: Path, stated: str, asked: int | None, used: int
    ) -> None:
        found = task(tmp_path, f"num_fewshot: {stated}" if stated else "")
        settings = PromptSettings(num_fewshot=asked)
        assert found.num_fewshot(settings) == found.config_with(settings)["num_fewshot"] == used

    def test_without_examples_their_split_is_not_opened(self, tmp_path: Path) -> None:
        data = FakeData(test=qa_rows(2))
        found = Task(config(tmp_path, QA + "fewshot_split: nowhere\ntraining_split: nowhere\n"), data, TaskFunctions())
        assert prompts(found) == ["Q0?", "Q1?"]
        assert data.loaded == ["test"]
        with pytest.raises(DataError):
            found.renderer(PromptSettings(num_fewshot=1))

    def test_building_a_task_opens_no_data(self, tmp_path: Path) -> None:
        data = FakeData(test=qa_rows(2))
        Task(config(tmp_path, QA), data, TaskFunctions())
        assert data.loaded == []


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    docs=st.integers(2, 9),
    limit=st.integers(1, 9),
    n=st.integers(0, 3),
    seed=st.integers(0, 99),
    fewshot=st.sampled_from(["", "fewshot_split: test", "fewshot_split: dev", "fewshot_config: {sampler: first_n}"]),
)
def test_a_limit_leaves_the_prompts_of_the_first_docs_as_they_are(
    tmp_path: Path, docs: int, limit: int, n: int, seed: int, fewshot: str
) -> None:
    found = task(tmp_path, fewshot, test=qa_rows(docs + 4), dev=qa_rows(5, "D"))
    run = PromptSettings(num_fewshot=n, seed=seed)
    everything = prompts(found, run)
    assert prompts(found, run, limit) == everything[:limit]
    assert prompts(found, run) == everything


class TestDocs:
    @pytest.mark.parametrize(
        ("limit", "count"), [(None, 10), (3, 3), (99, 10), (0.25, 3), (0.01, 1), (1.0, 1), (1, 1), (2.9, 2)]
    )
    def test_limit(self, tmp_path: Path, limit: float | None, count: int) -> None:
        found = task(tmp_path, test=qa_rows(10))
        assert [doc_id for doc_id, _ in found.eval_docs(limit)] == list(range(count))
        assert found.doc_count(limit) == count
        assert found.n_docs == 10

    @pytest.mark.parametrize("limit", [0, 0.0, -1])
    def test_a_limit_that_leaves_nothing_is_an_error(self, tmp_path: Path, limit: float) -> None:
        with pytest.raises(TaskError, match="no docs"):
            task(tmp_path).doc_count(limit)

    def test_an_empty_split_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(TaskError) as caught:
            _ = task(tmp_path, test=[]).n_docs
        assert "t.yaml:3:1" in told(caught.value)

    def test_the_test_split_goes_before_the_validation_split(self, tmp_path: Path) -> None:
        found = task(tmp_path, "validation_split: validation", test=qa_rows(1), validation=qa_rows(2))
        assert (found.eval_split, found.n_docs) == ("test", 1)

    def test_fingerprints_of_the_splits_in_use(self, tmp_path: Path) -> None:
        found = task(tmp_path, "fewshot_split: dev", test=qa_rows(2), dev=qa_rows(3))
        requests(found)
        assert found.dataset_fingerprints == {"test": "2 rows"}
        requests(found, PromptSettings(num_fewshot=1))
        assert found.dataset_fingerprints == {"test": "2 rows", "dev": "3 rows"}

    def test_data_files_beside_the_file_that_names_them_are_found(self, tmp_path: Path) -> None:
        write(
            tmp_path,
            {
                "lib/base": """
                    dataset_path: json
                    dataset_kwargs:
                      data_files:
                        test: rows.jsonl
                        dev: [rows.jsonl, elsewhere.jsonl, 'hf://datasets/x/y.jsonl']
                        all: 'r*.jsonl'
                      trust_remote_code: true
                      field: x
                    """,
                "lib/rows.jsonl": "{}",
            },
        )
        data = FakeData(test=qa_rows(1))
        keys = "task: t\ninclude: lib/base\ntest_split: test\ndoc_to_text: q\ndoc_to_target: a\n"
        assert Task(config(tmp_path, keys), data, TaskFunctions()).n_docs == 1
        here = str(tmp_path / "lib/rows.jsonl")
        (spec,) = data.specs
        assert (spec.path, spec.name) == ("json", None)
        assert spec.kwargs == {
            "data_files": {
                "test": here,
                "dev": [here, "elsewhere.jsonl", "hf://datasets/x/y.jsonl"],
                "all": here.replace("rows.jsonl", "r*.jsonl"),
            },
            "field": "x",
        }


class TestFacts:
    def test_raw_types(self, tmp_path: Path) -> None:
        found = task(tmp_path, base=CHOICE, validation=CHOICE_ROWS)
        assert found.facts(1, CHOICE_ROWS[1]) == TaskFacts(1, CHOICE_ROWS[1], 1, "Q1", ["yes", "no"])
        assert found.has_choices
        assert not found.multiple_input

    @pytest.mark.parametrize(("value", "multiple"), [(["a", "b"], True), ([], False), ("a", False)])
    def test_the_first_doc_decides_on_several_targets(self, tmp_path: Path, value: Any, multiple: bool) -> None:
        found = task(tmp_path, "doc_to_target: t", test=[{"q": "x", "t": value}, {"q": "y", "t": ["z"]}])
        assert found.multiple_target is multiple

    def test_an_empty_choice_is_no_problem(self, tmp_path: Path) -> None:
        found = task(tmp_path, "doc_to_choice: ['', b]", base=CHOICE, validation=CHOICE_ROWS)
        assert requests(found)[0][0].continuation == " "


class TestAttributes:
    @pytest.mark.parametrize(
        ("output_type", "metrics"),
        [
            ("loglikelihood", ["perplexity", "acc"]),
            ("loglikelihood_rolling", ["word_perplexity", "byte_perplexity", "bits_per_byte"]),
            ("multiple_choice", ["acc", "acc_norm"]),
            ("generate_until", ["exact_match"]),
        ],
    )
    def test_default_metrics(self, tmp_path: Path, output_type: str, metrics: list[str]) -> None:
        found = task(tmp_path, f"output_type: {output_type}\ndoc_to_choice: [a]")
        assert [entry["metric"] for entry in found.metric_list] == metrics
        assert found.filter_list is None

    def test_metrics_and_filters_are_given_as_stated(self, tmp_path: Path) -> None:
        filters = "[{name: f, filter: [{function: regex, group_select: -1}]}]"
        found = task(tmp_path, f"metric_list: [{{metric: acc, x: y}}]\nfilter_list: {filters}")
        assert found.metric_list == [{"metric": "acc", "x": "y"}]
        assert found.filter_list == [{"name": "f", "filter": [{"function": "regex", "group_select": -1}]}]

    @pytest.mark.parametrize(
        ("text", "version"), [("", "Yaml"), ("metadata: {version: 1.0}", 1.0), ("metadata: {version: v2}", "v2")]
    )
    def test_version(self, tmp_path: Path, text: str, version: Any) -> None:
        assert task(tmp_path, text).version == version

    def test_name_alias_and_hash(self, tmp_path: Path) -> None:
        found = task(tmp_path, "task_alias: Questions")
        assert (found.name, found.alias) == ("qa", "Questions")
        assert found.content_hash == found.task_config.content_hash
        assert found.config["dataset_path"] == "some/dataset"


class TestErrorsOfADoc:
    """What goes wrong with one doc names the task, the doc, the key and the place."""

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("doc_to_text: '{{qq}}'", "the doc has no column 'qq'"),
            ("doc_to_text: id", "the question is 1, which is not text"),
            ("doc_to_target: id\noutput_type: loglikelihood", "doc_to_target gives 1, which is not text"),
            ("description: '{{x}}'", "the doc has no column 'x'"),
        ],
    )
    def test_in_a_prompt(self, tmp_path: Path, text: str, said: str) -> None:
        found = task(tmp_path, text)
        renderer = found.renderer(PromptSettings())
        with pytest.raises(TaskError) as caught:
            renderer.render(1, {"q": "Q", "a": "A", "id": 1})
        assert caught.value.message.startswith("task 'qa', doc 1: ")
        assert said in caught.value.message
        assert caught.value.problems[0].location is not None

    def test_in_the_facts(self, tmp_path: Path) -> None:
        with pytest.raises(TaskError, match="doc 4: doc_to_target: the doc has no column 'b'"):
            task(tmp_path, "doc_to_target: '{{b}}'").facts(4, {"q": "Q", "a": "A"})
