"""What the sample page asks of models: their tokens, and requests as commands for a shell."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.backends.api.curl import command, variable
from lmrun.backends.base import ModelSpec
from lmrun.backends.tokenize import Unanswerable
from lmrun.errors import BackendError
from lmrun.requests import Message, Request, Response
from lmrun.store.records import Exchange, SampleDetail, SampleRow
from lmrun.store.runs import RunDirectory
from lmrun.tui.models import MOST_TOKENS, Seen, Tokens, curl
from lmrun.tui.widgets.sample.tokens import pieces

DEMO = ModelSpec("demo", "hf", "bundled:demo")


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(DEMO, {"max_length": 1024})


def drawn(seen: Seen) -> str:
    return "".join(piece.text for piece in pieces(seen, 0))


def test_join_of_context_and_continuation(tokens: Tokens) -> None:
    seen = tokens.look(Request("loglikelihood", "Question: is it so?\nAnswer: ", "yes"))
    assert seen.join is not None
    assert "".join(token.text for token in seen.tokens[: seen.join]).endswith("Answer:")
    assert "".join(token.text for token in seen.tokens[seen.join :]) == " yes"  # the space is scored too
    assert drawn(seen).endswith("Answer:┃ yes")


def test_special_tokens_of_a_chat(tokens: Tokens) -> None:
    seen = tokens.look(Request("generate_until", (Message("user", "Say <|eos|>"),), generation={"max_gen_toks": 4}))
    special = [token.text for token in seen.tokens if token.special]
    assert special[:2] == ["<|bos|>", "<|user|>"] and special[-1] == "<|assistant|>"
    text = drawn(seen)
    assert "⟨<|bos|>⟩⟨<|user|>⟩⏎\n" in text and text.endswith("┃")


def test_a_whole_text_and_an_empty_context(tokens: Tokens) -> None:
    seen = tokens.look(Request("loglikelihood_rolling", continuation="some words"))
    assert seen.join == 1 and "".join(token.text for token in seen.tokens[1:]) == "some words"
    alone = tokens.look(Request("loglikelihood", "", "some"))
    assert alone.join == 1
    with pytest.raises(Unanswerable):
        tokens.look(Request("loglikelihood", "some", ""))


def test_what_is_cut_away_is_said(tokens: Tokens) -> None:
    seen = tokens.look(Request("loglikelihood", "word " * 3000, "end"))
    assert "tokens cut away" in seen.words and len(seen.tokens) == 1025
    long = Tokens(DEMO, {}).look(Request("loglikelihood", "word " * MOST_TOKENS, "end"))
    assert long.hidden and len(long.tokens) == MOST_TOKENS and drawn(long).endswith("┃ end")


def test_every_character_is_seen_once(tokens: Tokens) -> None:
    text = "naïve  café\n\n\tZürich 12 345"
    seen = tokens.look(Request("generate_until", text, generation={"max_gen_toks": 4}))
    joined = "".join(token.text for token in seen.tokens if not token.special)
    assert joined.replace("�", "").startswith("na") and "café"[:3] in joined


@pytest.mark.parametrize("backend", ["openai-chat", "scripted", "openai-completions"])
def test_without_a_tokenizer(backend: str) -> None:
    with pytest.raises(BackendError, match="no tokenizer is known"):
        Tokens(ModelSpec("m", backend, "m"), {})


# -- curl --------------------------------------------------------------------------------------------------------------

KEY = "sk-very-secret-0123456789"


def run_directory(folder: Path, model: str) -> RunDirectory:
    (folder / "manifest.toml").write_text(f'name = "x"\n[[models]]\nname = "m"\n{model}\n[[tasks]]\nname = "t"\n')
    return RunDirectory(folder)


def detail(*requests: Request, logprobs: tuple[float, ...] = ()) -> SampleDetail:
    row = SampleRow(1, "m", "t", 0, "scored", True, False, False, 0, False, None)
    scores = [*logprobs, *[None] * (len(requests) - len(logprobs))]
    answers = [Response(text="x") if score is None else Response(logprob=score) for score in scores]
    exchanges = [Exchange(i, 0, "k", r, a, "computed") for i, (r, a) in enumerate(zip(requests, answers, strict=True))]
    return SampleDetail(row, {}, "", None, exchanges, [])


def run_curl(text: str, folder: Path, **environment: str) -> list[str]:
    """The words that a shell gives to curl."""
    fake = folder / "curl"
    fake.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done\n')
    fake.chmod(0o755)
    env = {"PATH": f"{folder}:{os.environ['PATH']}", **environment}
    shell = shutil.which("bash") or "/bin/sh"
    done = subprocess.run([shell, "-c", text], env=env, capture_output=True, check=True)
    assert not done.stderr
    return done.stdout.decode().split("\0")[:-1]


NASTY = 'it\'s "so" $HOME `id` $(id) \\ \n!x\r\x00\x1b[31m \ud83d 日本'


def test_a_command_says_the_same_to_curl_and_keeps_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    model = """backend = "openai-chat"\nmodel = "gpt"\nbase_url = "https://example.org/v1"\napi_key_env = "MY_KEY"
    headers = { "X-Team" = "it's $HOME" }\nquery = { v = "1 2" }"""
    generation = {"until": ["\n", "it's"], "max_gen_toks": 7}
    request = Request("generate_until", (Message("system", "Be."), Message("user", NASTY)), generation=generation)
    text = curl(run_directory(tmp_path, model), detail(request))
    assert KEY not in text and '"$MY_KEY"' in text and "\x1b" not in text
    words = run_curl(text, tmp_path, MY_KEY=KEY)
    assert words[0] in [f"https://example.org/v1/chat/completions?v=1{space}2" for space in ("+", "%20")]
    assert f"Authorization: Bearer {KEY}" in words and "X-Team: it's $HOME" in words
    body: dict[str, Any] = json.loads(words[words.index("-d") + 1])
    assert body["model"] == "gpt" and body["messages"][1] == {"role": "user", "content": NASTY}
    assert body["max_tokens"] == 7 and body["stop"] == ["\n", "it's"] and body["temperature"] == 0.0


def test_the_likeliest_choice_is_asked(tmp_path: Path) -> None:
    requests = [Request("loglikelihood", "Q: ?\nA:", f" {choice}") for choice in ("red", "green", "blue")]
    run = run_directory(tmp_path, 'backend = "hf"\nmodel = "bundled:demo"')
    text = curl(run, detail(*requests, logprobs=(-3.0, -1.0, -2.0)))
    words = run_curl(text, tmp_path)
    assert words[0] == "http://localhost:8000/v1/completions" and text.startswith("# for a server of bundled:demo")
    body = json.loads(words[-1])
    assert body["prompt"] == "Q: ?\nA: green" and body["echo"] is True


def test_another_protocol_and_what_cannot_be_asked(tmp_path: Path) -> None:
    run = run_directory(tmp_path, 'backend = "anthropic"\nmodel = "claude"')
    text = curl(run, detail(Request("generate_until", "Hello")))
    assert "/v1/messages" in text and 'x-api-key: \'"$ANTHROPIC_API_KEY"' in text
    with pytest.raises(BackendError, match="cannot be asked by hand"):
        curl(run, detail(Request("loglikelihood", "a", "b")))
    with pytest.raises(BackendError, match="nothing was asked"):
        curl(run, detail())


@settings(max_examples=25, deadline=None)
@given(st.text(), st.text(alphabet=st.characters(exclude_characters="\0\r\n", codec="utf-8")))
def test_any_text_goes_through_the_shell(tmp_path_factory: pytest.TempPathFactory, value: str, header: str) -> None:
    folder = tmp_path_factory.mktemp("curl")
    words = run_curl(command("http://x/", {"A": variable("NAME"), "B": header}, {"v": value}), folder, NAME="n $x'")
    assert json.loads(words[-1]) == {"v": value}
    assert "A: n $x'" in words and f"B: {header}" in words
