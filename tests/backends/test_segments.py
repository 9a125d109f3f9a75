"""Pieces of texts have the tokens of the text that they make."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.backends.light_tokenizer import LightTokenizer
from lmrun.backends.segments import Pieces, Segments, pieces
from tests.backends import make

tokenizers = pytest.importorskip("tokenizers")

parts = st.one_of(
    st.sampled_from(
        [*make.WORDS, "it's", "don't", "a", "7", "42 cats", "\n", "\n\n", " ", "  ", "<|end|>", "é", "e\u0301"]
    ),
    st.text(max_size=3),
)
texts = st.tuples(st.lists(parts, max_size=60), st.sampled_from([" ", " ", ""])).map(lambda made: made[1].join(made[0]))
BYTE_LEVEL = [kind for kind in make.TOKENIZERS if kind.startswith("bytes")]


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return {kind: make.tokenizer(kind) for kind in make.TOKENIZERS}


@pytest.fixture(scope="module")
def light(made: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, LightTokenizer]:
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in BYTE_LEVEL}
    for kind, folder in folders.items():
        made[kind].save_pretrained(folder)
    return {kind: LightTokenizer(folder) for kind, folder in folders.items()}


@given(text=texts)
def test_pieces_make_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text


@given(first=texts, ways=st.lists(st.tuples(st.integers(0, 2000), texts), max_size=6))
def test_a_text_that_begins_like_the_one_before_has_the_same_pieces(first: str, ways: list[tuple[int, str]]) -> None:
    found, text = Pieces(), first * 4
    known: list[str] = []
    for cut, end in [(len(text), ""), *ways]:
        text = text[:cut] + end
        kept, others = found.of(text)
        found.turn_to(text, kept, others)
        known = [*known[:kept], *others]
        assert known == list(pieces(text))
    assert found.of(text + ", and so on")[0] == max(0, len(known) - 1), "all but the last"


def test_a_text_that_cannot_be_encoded_leaves_no_trace(made: dict[str, Any]) -> None:
    segments = Segments.of(made["bytes"])
    assert segments is not None
    text = " ".join(make.WORDS * 4)
    segments.encode(text, special=False)
    with mock.patch.object(Segments, "_encode_all", side_effect=TypeError), pytest.raises(TypeError):
        segments.encode(text[:300] + " another end", special=False)
    assert segments.encode(text + " end", special=False) == made["bytes"].encode(text + " end")


@settings(deadline=None)
@given(kind=st.sampled_from(BYTE_LEVEL), several=st.lists(texts, max_size=4), special=st.booleans())
def test_tokens_are_those_of_the_whole_text(made: dict[str, Any], kind: str, several: list[str], special: bool) -> None:
    segments = Segments.of(made[kind])
    assert segments is not None
    segments.prepare(several[::2])
    for text in several:
        assert segments.encode(text, special=special) == made[kind].encode(text, add_special_tokens=special)


@settings(deadline=None)
@given(kind=st.sampled_from(BYTE_LEVEL), several=st.lists(texts, max_size=4), special=st.booleans())
def test_a_tokenizer_without_transformers_too(
    light: dict[str, LightTokenizer], kind: str, several: list[str], special: bool
) -> None:
    segments = Segments.of(light[kind])
    assert segments is not None
    for text in (*several, " ".join(several) * 20):
        assert segments.encode(text, special=special) == light[kind].encode(text, add_special_tokens=special)


def test_an_example_has_the_same_pieces_after_any_other() -> None:
    words = make.WORDS
    first, second, third = (" ".join(words[i:] + words[:i]) + "\n\n" for i in (0, 3, 7))
    shared = set(pieces(first + third)) & set(pieces(second + third))
    assert sum(map(len, shared)) > 0.8 * len(third)


def test_what_is_forgotten_is_encoded_again(made: dict[str, Any]) -> None:
    with mock.patch("lmrun.backends.segments._MOST_KEPT", 200):
        segments = Segments.of(made["bytes"])
        assert segments is not None
        for i in range(20):
            text = " ".join(make.WORDS[i:] + make.WORDS[:i])
            assert segments.encode(text, special=True) == made["bytes"].encode(text)


def test_pieces_that_could_differ_are_not_made(made: dict[str, Any]) -> None:
    assert Segments.of(made["pieces-bos"]) is None
    for change in (_over_spaces, _unsplit, _lower_case, _with_end):
        tokenizer = make.tokenizer("bytes")
        change(tokenizer)
        assert Segments.of(tokenizer) is None, change.__name__


def _over_spaces(tokenizer: Any) -> None:
    tokenizer.add_tokens(["cat sat"])


def _unsplit(tokenizer: Any) -> None:
    splitter = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.backend_tokenizer.pre_tokenizer = splitter


def _lower_case(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.normalizer = tokenizers.normalizers.Lowercase()


def _with_end(tokenizer: Any) -> None:
    end = ("<|end|>", tokenizer.eos_token_id)
    template = tokenizers.processors.TemplateProcessing(single="$A <|end|>", special_tokens=[end])
    tokenizer.backend_tokenizer.post_processor = template
