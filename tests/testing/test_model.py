"""The tokenizer and the distribution behind the scripted server."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lmrun.testing.model import Model, Rows
from lmrun.testing.tokens import BARE, END, SPACED, save_tokenizer

MODEL = Model()
TOKENS = MODEL.tokens
IDS = st.lists(st.integers(0, MODEL.size - 1), max_size=40)
TEXTS = st.text() | st.lists(st.sampled_from([*SPACED, *BARE, END, "\n", "é", "  ", "12"]), max_size=20).map("".join)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = save_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@given(TEXTS)
def test_the_saved_tokenizer_cuts_texts_alike(loaded: Tokenizer, text: str) -> None:
    ids = TOKENS.encode(text)
    assert ids == loaded.encode(text).ids
    assert TOKENS.decode(ids) == text


def test_transformers_loads_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(save_tokenizer(tmp_path))
    assert tokenizer("The answer is 42.")["input_ids"] == TOKENS.encode("The answer is 42.")
    assert tokenizer.eos_token_id == TOKENS.end


def test_words_are_one_token() -> None:
    assert {word: len(TOKENS.encode(word)) for word in (*SPACED, *BARE)} == dict.fromkeys((*SPACED, *BARE), 1)


def test_joining_two_texts_can_join_tokens() -> None:
    assert TOKENS.encode("Answer:") + TOKENS.encode(" A") == TOKENS.encode("Answer: A")
    assert TOKENS.encode("Answer: ") + TOKENS.encode("A") != TOKENS.encode("Answer: A")


@given(TEXTS)
def test_offsets_point_into_the_text(text: str) -> None:
    ids = TOKENS.encode(text)
    for i, offset in zip(ids, TOKENS.offsets(ids), strict=True):
        shown = TOKENS.strings[i]
        assert shown.startswith("bytes:") or text[offset : offset + len(shown)] == shown


@given(IDS)
def test_probabilities_add_up_and_every_token_has_its_place(ids: list[int]) -> None:
    rows = MODEL.rows(ids)
    last = Rows(rows.favorite[-1:], rows.shift[-1:])
    (ordered,) = MODEL.top(last, MODEL.size)
    assert sorted(ordered) == list(range(MODEL.size))
    assert [int(MODEL.ranks(last, [token])[0]) for token in ordered] == list(range(MODEL.size))
    assert math.fsum(math.exp(value) for value in MODEL.logprobs(range(MODEL.size))) == pytest.approx(1)


@given(IDS, st.integers(0, 20))
def test_greedy_answers_are_the_likeliest(ids: list[int], n: int) -> None:
    new = MODEL.generate(MODEL.after(ids), n, 0, Random(0))
    rows = MODEL.rows([*ids, *new])
    assert not MODEL.ranks(rows, [*ids, *new])[len(ids) :].any()
    assert len(new) <= n


@given(IDS, st.integers(0, 2**32))
def test_drawn_tokens_are_those_of_the_place_that_was_drawn(ids: list[int], seed: int) -> None:
    state, rows = MODEL.after(ids), MODEL.rows(ids)
    (drawn,) = MODEL.generate(state, 1, 1.0, Random(seed))
    share = Random(seed).random()
    rank = int(MODEL.ranks(Rows(rows.favorite[-1:], rows.shift[-1:]), [drawn])[0])
    below = math.fsum(math.exp(value) for value in MODEL.logprobs(range(rank)))
    assert below - 1e-9 <= share <= below + math.exp(MODEL.logprobs([rank])[0]) + 1e-9


def test_the_whole_prompt_matters() -> None:
    long = TOKENS.encode("The day is long. " * 50)
    first = MODEL.rows([*TOKENS.encode("Yes"), *long]).shift[-1]
    assert first != MODEL.rows([*TOKENS.encode("No"), *long]).shift[-1]
    assert first != Model(salt=1).rows([*TOKENS.encode("Yes"), *long]).shift[-1]
