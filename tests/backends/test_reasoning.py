"""Reasoning is split off before stops: on texts, in pieces of any size, and with a model that thinks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.backends.base import ModelSpec
from lmrun.backends.hf import HfBackend
from lmrun.backends.hf.reasoning import TextStream
from lmrun.backends.reasoning import KNOWN, Delimiters, Split, Splitter, known_delimiters, split
from lmrun.errors import BackendError
from lmrun.requests import Message, Request, Response, content_key
from tests.backends import make

THINK = Delimiters("<think>", "</think>")
PIECES = ["<think>", "</think>", "<", "/", "th", ">", "\n", " ", "a", "bc", "c", "Q:", "é"]
STOPS = ["\n\n", "\nQ:", "<", "bc", "abcd", "a"]
outputs = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)
stop_lists = st.lists(st.sampled_from(STOPS), max_size=3)


@pytest.mark.parametrize(
    ("output", "opened", "reasoning", "text", "closed"),
    [
        ("<think>\nhm\n\nso</think>\n\nfour\n\nmore", False, "hm\n\nso", "four", True),
        ("hm\n\nso</think>\n\nfour", True, "hm\n\nso", "four", True),
        ("hm </think> four", False, "hm", "four", True),
        ("four", False, "", "four", True),
        ("\n\nfour", False, "", "four", True),
        ("\n\n<think>hm</think>four", False, "hm", "four", True),
        ("<think>\n\n</think>\n\nfour", False, "", "four", True),
        ("<think>the answer is five", False, "the answer is five", "", False),
        ("the answer is five", True, "the answer is five", "", False),
        ("<think>a</think>b<think>c</think>four", False, "a</think>b<think>c", "four", True),
        ("<think>a</think>b<think>c", False, "a</think>b<think>c", "", False),
        ("four\n\n<think>a</think>b", False, "", "four", True),
        ("", False, "", "", True),
    ],
)
def test_what_is_reasoning_and_what_is_answer(
    output: str, opened: bool, reasoning: str, text: str, closed: bool
) -> None:
    found = split(output, THINK, ["\n\n"], opened=opened)
    assert (found.reasoning, found.text, found.closed) == (reasoning, text, closed)


def test_a_stop_does_not_act_within_a_delimiter() -> None:
    assert split("<think>x</think>four <b>", THINK, ["<"]).text == "four "


@given(outputs, stop_lists, st.booleans(), st.data())
def test_pieces_of_any_size_give_the_same(output: str, stops: list[str], opened: bool, data: Any) -> None:
    splitter = Splitter(THINK, stops, opened=opened)
    at = 0
    while at < len(output):
        size = data.draw(st.integers(1, len(output) - at))
        if splitter.feed(output[at : at + size]):
            break
        at += size
    found, whole = splitter.finish(), split(output, THINK, stops, opened=opened)
    assert found == whole


@given(outputs, stop_lists, st.booleans())
def test_the_answer_is_a_part_of_the_output_and_holds_no_stop(output: str, stops: list[str], opened: bool) -> None:
    found = split(output, THINK, stops, opened=opened)
    assert output[found.answer :].startswith(found.text)
    assert found.reasoning in output[: found.answer]
    assert not any(stop in found.text for stop in stops)
    assert not any(mark in found.text for mark in THINK)
    if not found.closed:
        assert (found.text, found.stopped) == ("", False)


@given(st.text(alphabet="ab \n", max_size=10), st.text(alphabet="ab \n", max_size=10), st.booleans())
def test_reasoning_and_answer_make_the_output(reasoning: str, text: str, opened: bool) -> None:
    output = ("" if opened else THINK.start) + reasoning + THINK.end + text
    found = split(output, THINK, opened=opened)
    assert (found.reasoning, found.text) == (reasoning.strip(), text.lstrip())


def test_delimiters_are_known_by_template_or_tokens() -> None:
    assert known_delimiters("{{ m.content.split('</think>')[-1] }}", ()) == THINK
    assert known_delimiters(None, {"[THINK]", "[/THINK]"}) == Delimiters("[THINK]", "[/THINK]")
    assert known_delimiters("{{ m.content }}", {"<s>"}) is None
    assert len({d.end for d in KNOWN}) == len(KNOWN)


@pytest.mark.parametrize(
    ("context", "rendered", "opened"),
    [
        ("x", "<|assistant|><think>\n", True),
        ("x", "<|assistant|><think>\n\n</think>\n\n", False),
        ("what is <think>?", "what is <think>? A:", False),
        ((Message("user", "x"), Message("assistant", "<think>let me")), "…<think>let me", True),
        ((Message("user", "<think>"), Message("assistant", "A:")), "<think> A:", False),
    ],
)
def test_a_prompt_can_open_the_block(context: Any, rendered: str, opened: bool) -> None:
    assert THINK.opened_by(context, rendered) is opened


@pytest.mark.parametrize("kind", make.TOKENIZERS)
def test_the_text_of_tokens_one_by_one(tokenizers: dict[str, Any], kind: str) -> None:
    text = "the cat … sat é 漢字 🙂 by\n\n the door"
    tokens = tokenizers[kind].encode(text, add_special_tokens=False)
    stream = TextStream(tokenizers[kind].decode)
    assert "".join(stream.push(token) for token in tokens) == tokenizers[kind].decode(tokens)


# -- a model that thinks -----------------------------------------------------------------------------------------------

QUESTION = "one or two?"
ANSWER = "{0}\nmaybe one\n\nno: Answer: one{1}\n\nAnswer: two\n\nbecause the cat"
REASONING, TEXT = "maybe one\n\nno: Answer: one", "Answer: two"
Thinking = Callable[..., HfBackend]


@pytest.fixture(scope="session")
def thinking(tmp_path_factory: pytest.TempPathFactory) -> Thinking:
    """Loads a model with these delimiters, and the options of the manifest."""
    pytest.importorskip("torch")
    saved: dict[Any, Path] = {}

    def backend(delimiters: tuple[str, str] = THINK, *, special: bool = False, **options: Any) -> HfBackend:
        if (delimiters, special) not in saved:
            folder = tmp_path_factory.mktemp("thinking")
            texts = [(QUESTION, ANSWER.format(*delimiters)), ("yes?", "yes.\n\nno")]
            saved[delimiters, special] = make.save_thinking(folder, texts, delimiters=delimiters, special=special)
        made = HfBackend(ModelSpec("m", "hf", str(saved[delimiters, special]), {"device": "cpu", **options}))
        made.load()
        return made

    return backend


def ask(backend: HfBackend, question: str = QUESTION, prefill: str = "", **generation: Any) -> Response:
    chat = (Message("user", question), *([Message("assistant", prefill)] if prefill else []))
    wanted = {"until": ["\n\n"], "max_gen_toks": 60, **generation}
    ((_, response),) = next(iter(backend.run([Request("generate_until", chat, generation=wanted)])))
    return response


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("delimiters", [THINK, Delimiters("[THINK]", "[/THINK]")])
def test_a_stop_acts_only_after_the_reasoning(thinking: Thinking, delimiters: Delimiters, special: bool) -> None:
    found = ask(thinking(delimiters, special=special, reasoning="auto"))
    assert (found.reasoning, found.text, found.finish_reason) == (REASONING, TEXT, "stop")
    assert 0 < found.reasoning_tokens < found.completion_tokens
    whole = ask(thinking(delimiters, special=special, reasoning="auto"), until=[])
    assert whole.text == "Answer: two\n\nbecause the cat"
    assert whole.completion_tokens > found.completion_tokens
    assert whole.reasoning_tokens == found.reasoning_tokens


def test_without_the_option_nothing_is_split(thinking: Thinking) -> None:
    found = ask(thinking())
    assert (found.text, found.reasoning, found.reasoning_tokens) == ("<think>\nmaybe one", None, 0)


def test_delimiters_of_the_manifest(thinking: Thinking) -> None:
    found = ask(thinking(reasoning={"start": "maybe", "end": "no: "}), until=[])
    assert (found.reasoning, found.text) == ("<think>\nmaybe one", f"Answer: one</think>\n\n{TEXT}\n\nbecause the cat")


def test_an_answer_without_reasoning(thinking: Thinking) -> None:
    found = ask(thinking(reasoning="auto"), "yes?")
    assert (found.reasoning, found.text, found.finish_reason, found.reasoning_tokens) == (None, "yes.", "stop", 0)


def test_an_unclosed_block_is_a_cut_answer(thinking: Thinking) -> None:
    found = ask(thinking(reasoning="auto"), max_gen_toks=10)
    assert (found.text, found.finish_reason) == ("", "length")
    assert found.reasoning and REASONING.startswith(found.reasoning)
    assert found.reasoning_tokens == found.completion_tokens == 10


@pytest.mark.parametrize("opening", ["<think>", "<think>\nmaybe one"])
def test_a_prompt_that_opens_the_block(thinking: Thinking, opening: str) -> None:
    found = ask(thinking(reasoning="auto"), prefill=opening)
    assert (found.text, found.finish_reason) == (TEXT, "stop")
    assert found.reasoning and REASONING.endswith(found.reasoning)


def test_a_template_that_opens_the_block(thinking: Thinking, tmp_path: Path) -> None:
    template = tmp_path / "opens.jinja"
    template.write_text(make.CHAT_TEMPLATE.replace("<|assistant|>' }}", "<|assistant|><think>\\n' }}"))
    found = ask(thinking(reasoning="auto", chat_template=str(template)))
    assert (found.reasoning, found.text, found.finish_reason) == (REASONING, TEXT, "stop")


def test_rows_of_a_batch_think_for_themselves(thinking: Thinking) -> None:
    backend = thinking(reasoning="auto")
    wanted = {"until": ["\n\n"], "max_gen_toks": 60}
    requests = [Request("generate_until", (Message("user", q),), generation=wanted) for q in (QUESTION, "yes?") * 2]
    found = {i: response for chunk in backend.run(requests) for i, response in chunk}
    assert [found[i] for i in range(4)] == [ask(backend), ask(backend, "yes?")] * 2


def test_the_delimiters_are_part_of_the_cache_key(thinking: Thinking) -> None:
    request = Request("generate_until", "x")
    settings: list[dict[str, Any]] = [{}, {"reasoning": "auto"}, {"reasoning": {"start": "<t>", "end": "</t>"}}]
    keys = [content_key(thinking(**options).identify().fingerprint, request) for options in settings]
    assert len(set(keys)) == 3
    named = thinking(reasoning={"start": "<think>", "end": "</think>"}).identify()
    assert named == thinking(reasoning="auto").identify()


def test_auto_needs_something_to_go_by(folders: Callable[..., Path]) -> None:
    backend = HfBackend(ModelSpec("m", "hf", str(folders()), {"reasoning": "auto"}))
    with pytest.raises(BackendError, match="known delimiter"):
        backend.identify()


@pytest.mark.parametrize("wrong", [True, "<think>", {"start": "<think>"}, {"start": " ", "end": "x"}])
def test_wrong_delimiters_are_refused(wrong: Any) -> None:
    with pytest.raises(BackendError, match="reasoning is"):
        HfBackend(ModelSpec("m", "hf", "x", {"reasoning": wrong}))


def test_a_split_says_where_the_answer_begins() -> None:
    assert split("<think>a</think> b", THINK) == Split("a", "b", 17, closed=True, stopped=False)
