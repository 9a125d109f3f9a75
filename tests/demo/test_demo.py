"""The embedded default: data as the generator gives it, a hold-out that is held out, a model as its card says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.bundled import configs_dir, demo_model_dir, tasks_dir
from lmrun.demo import corpus, questions, world
from lmrun.demo.train import CHAT_TEMPLATE, as_text, row_order

DATA = tasks_dir() / "demo" / "data"
TASK_FILES = sorted((tasks_dir() / "demo").glob("*.yaml"))
CHAT = [
    {"role": "system", "content": "Answer with one word."},
    {"role": "user", "content": "What is the plural of fox?"},
]


# The tiny world ------------------------------------------------------------------------------------------------------


def test_no_word_has_two_kinds() -> None:
    words = [word for kind in world.KINDS.values() for word in kind]
    assert len(words) == len(set(words))
    assert not set(words) & set(world.THINGS)


def test_islands_are_always_the_same_and_have_one_name_each() -> None:
    assert world.islands() == world.islands()
    assert len({island.name for island in world.islands()}) == 120


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("lamp", "lamps"),
        ("fox", "foxes"),
        ("berry", "berries"),
        ("key", "keys"),
        ("mango", "mangoes"),
        ("wolf", "wolves"),
    ],
)
def test_plural(noun: str, expected: str) -> None:
    assert world.plural(noun) == expected


@pytest.mark.parametrize(("n", "expected"), [(0, "zero"), (13, "thirteen"), (20, "twenty"), (99, "ninety-nine")])
def test_number_word(n: int, expected: str) -> None:
    assert world.number_word(n) == expected


# The generator and its files -----------------------------------------------------------------------------------------


def test_training_stream_is_the_same_for_the_same_seed() -> None:
    first, again, other = (list(corpus.TrainingStream(seed).documents(300)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_data_files_are_what_the_generator_gives(tmp_path: Path) -> None:
    corpus.main(["--out", str(tmp_path)])
    fresh = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert fresh == {path.name: path.read_bytes() for path in DATA.iterdir()}


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def training_text() -> str:
    """Everything that the model was trained on."""
    return "\n\n".join(as_text(document) for document in corpus.TrainingStream().documents())


def held_out_texts() -> Iterator[str]:
    yield from (row["question"] for name in ("facts", "kinds", "arithmetic", "chat") for row in rows(f"{name}_test"))
    yield from (row["text"] for row in rows("text_test"))


def test_no_test_doc_occurs_in_the_training_texts(training_text: str) -> None:
    """Questions and stories stand in lines or paragraphs of their own, so whole ones are compared."""
    lines = {line.removeprefix("Question: ") for line in training_text.split("\n")}
    paragraphs = {p.removeprefix("Question: ").split("\nAnswer: ")[0] for p in training_text.split("\n\n")}
    texts = set(held_out_texts())
    assert len(texts) > 600
    assert not texts & (lines | paragraphs)


def test_training_never_shows_a_held_out_sum_in_any_wording(training_text: str) -> None:
    shown = {(int(a), int(b)) for a, b in re.findall(r"(\d+) [+-] (\d+) =", training_text)}
    told = {(int(a), int(b)) for a, b in re.findall(r" has (\d+) .*? (\d+)(?: more)?\. How", training_text)}
    assert len(shown) > 4000
    assert not (shown | told) & set(questions.sums()[1])


def test_training_never_tells_a_fact_in_its_held_out_words(training_text: str) -> None:
    for row in rows("lastword_test"):
        assert f"{row['prompt']} {row['word']}" not in training_text


def test_training_tells_every_fact_that_is_asked_for(training_text: str) -> None:
    assert all(training_text.count(island.name) > 20 for island in world.islands())


def test_chat_documents_are_among_the_training_texts() -> None:
    documents = list(corpus.TrainingStream().documents(300))
    chats = [document for document in documents if not isinstance(document, str)]
    assert chats
    assert all(chat[-1].role == "assistant" for chat in chats)


def test_every_pass_over_the_rows_has_each_row_once() -> None:
    order = row_order(count=7, needed=17, seed=3)
    assert len(order) == 17
    assert sorted(order[:7]) == sorted(order[7:14]) == list(range(7))


# The task and manifest files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TASK_FILES, ids=lambda path: path.stem)
def test_task_file_names_data_that_exists(path: Path) -> None:
    task = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "group" in task:
        members = {
            yaml.safe_load(other.read_text(encoding="utf-8")).get("task") for other in TASK_FILES if other != path
        }
        assert set(task["task"]) == members - {"demo_chat"}  # wants a chat template
        return
    assert task["task"] == f"demo_{path.stem}"
    assert (path.parent / task["include"]).is_file()
    for name in task["dataset_kwargs"]["data_files"].values():
        assert (path.parent / name).is_file()


def test_configs_are_toml_and_the_quickstart_runs_the_bundled_model() -> None:
    tomllib = pytest.importorskip("tomllib")
    manifests = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in configs_dir().glob("*.toml")}
    assert manifests["quickstart"]["models"][0]["model"] == "bundled:demo"
    assert manifests["quickstart"]["tasks"][0]["name"] == "demo"


# The model -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(demo_model_dir())


@pytest.fixture(scope="module")
def model() -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoModelForCausalLM.from_pretrained(demo_model_dir(), dtype="auto").eval()


def test_weights_are_small_and_nothing_else_is_large() -> None:
    sizes = {path.name: path.stat().st_size for path in demo_model_dir().iterdir()}
    assert sizes.pop("model.safetensors") <= 4_000_000
    assert sum(sizes.values()) <= 200_000


def test_model_loads_in_float32_by_default_and_by_name(model: Any) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    named = transformers.AutoModelForCausalLM.from_pretrained(demo_model_dir(), dtype=torch.float32)
    assert {p.dtype for p in model.parameters()} == {p.dtype for p in named.parameters()} == {torch.float32}


def test_model_card_states_size_and_seed(model: Any) -> None:
    card = (demo_model_dir() / "README.md").read_text(encoding="utf-8")
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in card
    assert f"seed {corpus.TRAINING_SEED}" in card


@given(st.text())
@settings(deadline=None)
def test_tokenizer_gives_every_text_back(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_tokenizer_adds_no_special_tokens_of_its_own(tokenizer: Any) -> None:
    assert tokenizer.encode("one fox") == tokenizer.encode("one fox", add_special_tokens=False)
    assert tokenizer.bos_token_id != tokenizer.eos_token_id


def test_tokenizer_gives_a_llama_only_what_it_takes(tokenizer: Any) -> None:
    assert set(tokenizer("one fox")) == {"input_ids", "attention_mask"}


def test_kinds_are_single_tokens(tokenizer: Any) -> None:
    assert {kind: len(tokenizer.tokenize(f" {kind}")) for kind in world.KINDS} == dict.fromkeys(world.KINDS, 1)


def test_digits_are_single_tokens(tokenizer: Any) -> None:
    assert tokenizer.tokenize("407") == ["4", "0", "7"]


def test_chat_template_renders_roles_and_a_generation_prompt(tokenizer: Any) -> None:
    assert tokenizer.chat_template == CHAT_TEMPLATE
    rendered = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert rendered == (
        "<|bos|><|system|>\nAnswer with one word.<|eos|>\n<|user|>\nWhat is the plural of fox?<|eos|>\n<|assistant|>\n"
    )


def test_chat_template_lets_a_prefill_be_continued(tokenizer: Any) -> None:
    prefill = [*CHAT, {"role": "assistant", "content": "The plural"}]
    rendered = tokenizer.apply_chat_template(prefill, tokenize=False, continue_final_message=True)
    assert rendered.endswith("<|assistant|>\nThe plural")


def generate(model: Any, tokenizer: Any, prompt: str, tokens: int) -> str:
    inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    out = model.generate(**inputs, max_new_tokens=tokens)
    text: str = tokenizer.decode(out[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text


def test_greedy_generation_is_deterministic_and_follows_the_form(model: Any, tokenizer: Any) -> None:
    row = rows("arithmetic_train")[0]
    prompt = f"Question: {row['question']}\nAnswer:"
    first, again = (generate(model, tokenizer, prompt, 24) for _ in range(2))
    assert first == again
    assert " = " in first


def test_model_answers_a_chat(model: Any, tokenizer: Any) -> None:
    prompt = tokenizer.apply_chat_template([CHAT[1]], tokenize=False, add_generation_prompt=True)
    assert generate(model, tokenizer, prompt, 16).startswith("The plural of fox is")
