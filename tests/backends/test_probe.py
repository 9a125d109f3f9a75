"""What is found out about a server before the first request, asked of real servers over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from lmrun.backends.api.backend import ApiBackend
from lmrun.backends.api.found import Found
from lmrun.backends.base import ModelSpec, Needs, StreamingBackend
from lmrun.backends.registry import backend_class
from lmrun.errors import BackendError, ModelError
from lmrun.testing.script import Fault, Script
from lmrun.testing.server import ScriptedServer
from lmrun.testing.serving import Reply

SCORED = Needs(frozenset({"loglikelihood"}))
WORDS = Needs(frozenset({"loglikelihood"}), longest=5)
PHRASES = Needs(frozenset({"loglikelihood"}), phrases=True, longest=12)
ROLLING = Needs(frozenset({"loglikelihood_rolling"}))
WRITTEN = Needs(frozenset({"generate_until"}), messages=True)
Edit = Callable[[dict[str, Any], dict[str, Any]], None]


class Edited(ScriptedServer):
    """A scripted server whose replies are changed: ``edit(reply, body)``."""

    def __init__(self, script: Script, edit: Edit) -> None:
        super().__init__(script)
        self.edit = edit

    async def reply(self, request: web.BaseRequest, body: bytes, kinds: frozenset[str]) -> Reply:
        answer = await super().reply(request, body, kinds)
        if request.method == "POST" and answer.status == 200:
            self.edit(answer.payload, orjson.loads(body))
        return answer


@contextmanager
def asked(
    kind: str, script: Script | None = None, edit: Edit | None = None, **options: Any
) -> Iterator[tuple[StreamingBackend, ScriptedServer, Found]]:
    """A backend on a server of its own, and what it finds out."""
    server = Edited(script or Script(), edit) if edit else ScriptedServer(script)
    with server:
        options = {"base_url": server.base_url, "retry": {"attempts": 2, "max_wait": 0.01}, **options}
        backend = backend_class(kind)(ModelSpec("m", kind, "tiny", options))
        assert isinstance(backend, ApiBackend)
        try:
            backend.load()
            yield backend, server, backend._wire.found  # type: ignore[attr-defined]
        finally:
            backend.close()


def posts(server: ScriptedServer) -> int:
    return sum(1 for seen in server.seen if seen.body is not None)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(ScriptedServer().save_tokenizer(tmp_path_factory.mktemp("tokenizer")))


# -- scoring prompts ---------------------------------------------------------------------------------------------------


def test_a_right_server_by_text() -> None:
    with asked("openai-completions") as (backend, server, found):
        backend.check(SCORED)
        assert found.echo is True
        assert posts(server) == 4
        backend.check(SCORED)
        assert posts(server) == 4  # once per process
        with pytest.raises(BackendError, match="without a tokenizer: the first token has no log-probability"):
            backend.check(ROLLING)


def test_a_right_server_by_tokens(tokenizer: str) -> None:
    with asked("openai-completions", tokenizer=tokenizer) as (backend, server, found):
        backend.check(SCORED)
        assert (found.tokens, found.same_tokens, found.prompt_logprobs) == (True, True, True)
        assert found.max_length == 4096
        assert posts(server) == 6
        assert found.echo is None  # there is no need for it


def test_scoring_by_echo_only(tokenizer: str) -> None:
    with asked("openai-completions", tokenizer=tokenizer, scoring="echo") as (backend, _, found):
        backend.check(SCORED)
        assert (found.echo, found.prompt_logprobs) == (True, None)


def test_a_server_without_prompt_logprobs_of_vllm(tokenizer: str) -> None:
    with asked("openai-completions", Script(ignores=["prompt_logprobs"]), tokenizer=tokenizer) as (backend, _, found):
        backend.check(SCORED)
        assert (found.echo, found.prompt_logprobs) == (True, False)


def echoes(edit: Edit) -> Edit:
    """An edit of replies with the prompt alone: what is generated stays right."""

    def only(reply: dict[str, Any], body: dict[str, Any]) -> None:
        if body.get("echo"):
            edit(reply, body)

    return only


@echoes
def constant(reply: dict[str, Any], body: dict[str, Any]) -> None:
    logs = reply["choices"][0]["logprobs"]
    logs["token_logprobs"] = [value and -1.5 for value in logs["token_logprobs"]]


@echoes
def without_context(reply: dict[str, Any], body: dict[str, Any]) -> None:
    logs = reply["choices"][0]["logprobs"]
    pairs = zip(logs["tokens"], logs["token_logprobs"], strict=True)
    logs["token_logprobs"] = [value and -1.0 - sum(map(ord, token)) % 7 for token, value in pairs]


@echoes
def cut_short(reply: dict[str, Any], body: dict[str, Any]) -> None:
    logs = reply["choices"][0]["logprobs"]
    for name in logs:
        logs[name] = [*logs[name][:5], logs[name][-1]]


@echoes
def cut_short_uncounted(reply: dict[str, Any], body: dict[str, Any]) -> None:
    cut_short(reply, body)
    del reply["usage"]


@echoes
def shifted_left(reply: dict[str, Any], body: dict[str, Any]) -> None:
    logs = reply["choices"][0]["logprobs"]
    logs["token_logprobs"] = [*logs["token_logprobs"][1:], None]


@echoes
def off_by_a_little(reply: dict[str, Any], body: dict[str, Any]) -> None:
    logs = reply["choices"][0]["logprobs"]
    values = logs["token_logprobs"]
    logs["token_logprobs"] = [*(value and value - 0.3 for value in values[:-1]), values[-1]]


@echoes
def positive(reply: dict[str, Any], body: dict[str, Any]) -> None:
    logs = reply["choices"][0]["logprobs"]
    logs["token_logprobs"] = [value and -value for value in logs["token_logprobs"]]


@echoes
def no_null(reply: dict[str, Any], body: dict[str, Any]) -> None:
    reply["choices"][0]["logprobs"]["token_logprobs"][0] = -3.0


def noisy(reply: dict[str, Any], body: dict[str, Any]) -> None:
    logs = reply["choices"][0]["logprobs"]
    logs["token_logprobs"] = [value and value - 0.02 * (i % 3) for i, value in enumerate(logs["token_logprobs"])]


UNFIT: list[tuple[str, Script, Edit | None, str]] = [
    ("ignored", Script(ignores=["echo", "logprobs"]), None, "no logprobs"),
    ("echo ignored", Script(ignores=["echo"]), None, "echo is ignored"),
    ("missing", Script(faults=[Fault("no_logprobs")]), None, "no logprobs"),
    ("shifted", Script(faults=[Fault("shifted_logprobs")]), None, "shifted by one"),
    ("zero", Script(faults=[Fault("zero_logprobs")]), None, "all of them are 0"),
    ("refused", Script(refuses={"echo": ""}), None, "refused with HTTP 400"),
    ("constant", Script(), constant, "all of them are -1.5"),
    ("without context", Script(), without_context, "do not depend on what comes before"),
    ("cut short", Script(), cut_short, "log-probabilities for a prompt of"),
    ("cut short, uncounted", Script(), cut_short_uncounted, "of a part of the prompt"),
    ("shifted left", Script(), shifted_left, "nothing comes before"),
    ("off by a little", Script(), off_by_a_little, "shifted by one"),
    ("positive", Script(), positive, "in place of a log-probability"),
    ("no null", Script(), no_null, "nothing comes before"),
]


@pytest.mark.parametrize(("script", "edit", "why"), [case[1:] for case in UNFIT], ids=[case[0] for case in UNFIT])
def test_unfit_log_probabilities_are_refused(script: Script, edit: Edit | None, why: str) -> None:
    with asked("openai-completions", script, edit, scoring="echo") as (backend, server, found):
        with pytest.raises(BackendError, match=why) as raised:
            backend.check(SCORED)
        assert found.echo is False
        assert "mmlu_generative" in str(raised.value.hint)
        sent = posts(server)
        with pytest.raises(BackendError, match=why):
            backend.check(ROLLING)
        assert posts(server) == sent


@pytest.mark.parametrize("salt", range(8))
def test_the_proof_tells_right_from_shifted_for_any_model(salt: int) -> None:
    with asked("openai-completions", Script(salt=salt), scoring="echo") as (backend, _, _):
        backend.check(SCORED)
    with (
        asked("openai-completions", Script(salt=salt, faults=[Fault("shifted_logprobs")]), scoring="echo") as (b, _, _),
        pytest.raises(BackendError, match="shifted"),
    ):
        b.check(SCORED)


def test_rounding_of_half_precision_is_borne() -> None:
    with asked("openai-completions", edit=noisy, scoring="echo") as (backend, _, found):
        backend.check(SCORED)
        assert found.echo is True


def test_shifted_prompt_logprobs(tokenizer: str) -> None:
    script = Script(faults=[Fault("shifted_logprobs")])
    with asked("openai-completions", script, tokenizer=tokenizer, scoring="prompt_logprobs") as (backend, _, found):
        with pytest.raises(BackendError, match="shifted by one"):
            backend.check(SCORED)
        assert found.prompt_logprobs is False


def test_choices_of_one_token_where_prompts_are_not_scored() -> None:
    with asked("openai-completions", Script(ignores=["echo"], max_logprobs=5)) as (backend, _, found):
        backend.check(SCORED)
        assert (found.echo, found.top_logprobs) == (False, 5)
        for needs in (ROLLING, PHRASES, WORDS):
            with pytest.raises(BackendError, match="requests cannot be answered honestly"):
                backend.check(needs)


def test_a_word_is_taken_for_one_token_only_where_the_manifest_says_so() -> None:
    with asked("openai-completions", Script(ignores=["echo"]), scoring="next_token") as (backend, _, _):
        backend.check(WORDS)


def test_messages_need_a_template() -> None:
    with asked("openai-completions") as (backend, server, _):
        with pytest.raises(BackendError, match="only through the chat template"):
            backend.check(WRITTEN)
        assert not server.seen


def test_a_refused_key_is_no_matter_of_one_job() -> None:
    with (
        asked("openai-chat", Script(faults=[Fault("status", status=401)])) as (backend, _, _),
        pytest.raises(ModelError),
    ):
        backend.check(WRITTEN)


def test_token_ids_are_not_taken(tokenizer: str) -> None:
    script = Script(text_only=True)
    with asked("openai-completions", script, tokenizer=tokenizer) as (backend, _, found):
        backend.check(SCORED)
        assert (found.tokens, found.same_tokens, found.echo) == (False, True, True)
    with (
        asked("openai-completions", script, tokenizer=tokenizer, prompts="tokens") as (backend, _, _),
        pytest.raises(BackendError, match="token ids are not taken"),
    ):
        backend.check(SCORED)


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    from tests.backends.make import tokenizer as make_tokenizer

    make_tokenizer("bpe").save_pretrained(tmp_path)
    with (
        asked("openai-completions", tokenizer=str(tmp_path)) as (backend, _, found),
        pytest.raises(BackendError, match="is not the server's") as raised,
    ):
        backend.check(SCORED)
    assert found.same_tokens is False
    assert "leave `tokenizer` out" in str(raised.value.hint)


# -- chats -------------------------------------------------------------------------------------------------------------


def test_a_run_that_only_writes_costs_one_small_request() -> None:
    with asked("openai-chat") as (backend, server, found):
        backend.check(WRITTEN)
        backend.check(WRITTEN)
        assert posts(server) == 1
        body = server.seen[-1].body
        assert body["max_tokens"] == 16
        assert found.answers is True


def test_parameters_are_repaired_before_the_run() -> None:
    script = Script(refuses={"max_tokens": "max_completion_tokens"}, fixed_temperature=True, max_stops=4)
    with asked("openai-chat", script) as (backend, server, _):
        backend.check(Needs(frozenset({"generate_until"}), messages=True, most_stops=18))
        body = server.seen[-1].body
        assert body["max_completion_tokens"] == 16
        assert "temperature" not in body
        assert len(body["stop"]) == 4
        found = {c.name: c for c in backend.capabilities()}
        assert "max_tokens → max_completion_tokens" in found["parameters"].found
        assert "temperature left out" in found["parameters"].found
        assert found["stops"].found.startswith("4 at most")


def test_choices_of_a_chat() -> None:
    with asked("openai-chat") as (backend, server, found):
        backend.check(SCORED)
        assert found.top_logprobs == 20
        for needs in (ROLLING, PHRASES):
            with pytest.raises(BackendError, match="More than one token is to be scored"):
                backend.check(needs)
        assert posts(server) == 1


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (Script(ignores=["logprobs", "top_logprobs"]), "no logprobs"),
        (Script(refuses={"logprobs": ""}), "refused with HTTP 400"),
        (Script(reasoning="reasoning_content"), "thinks first"),
    ],
)
def test_chats_without_log_probabilities_are_refused(script: Script, why: str) -> None:
    with asked("openai-chat", script) as (backend, _, found):
        with pytest.raises(BackendError, match=why) as raised:
            backend.check(SCORED)
        assert found.top_logprobs == 0
        assert 'backend = "hf"' in str(raised.value.hint)


def test_a_prefill_that_is_continued() -> None:
    needs = Needs(frozenset({"generate_until"}), messages=True, prefill=True)
    with asked("openai-chat") as (backend, _, found):
        backend.check(needs)
        assert found.prefill is True


def test_a_prefill_that_starts_over() -> None:
    needs = Needs(frozenset({"generate_until"}), messages=True, prefill=True)
    script = Script(ignores=["continue_final_message"])
    with (
        asked("openai-chat", script) as (backend, _, found),
        pytest.raises(BackendError, match="beginning of an answer is not continued"),
    ):
        backend.check(needs)
    assert found.prefill is False


def test_anthropic() -> None:
    with asked("anthropic") as (backend, server, _):
        backend.check(WRITTEN)
        assert posts(server) == 1
        with pytest.raises(BackendError, match="gives no log-probabilities"):
            backend.check(SCORED)
        assert posts(server) == 1


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_wrong_model() -> None:
    with (
        asked("openai-chat", Script(model="tinny")) as (backend, _, _),
        pytest.raises(BackendError, match='no such path or model "tiny"'),
    ):
        backend.check(WRITTEN)


def test_a_server_that_is_busy_is_not_one_that_cannot() -> None:
    script = Script(faults=[Fault("status", status=503)])
    with asked("openai-completions", script) as (backend, _, found):
        with pytest.raises(BackendError, match=r"small request .* has failed: HTTP 503"):
            backend.check(SCORED)
        assert found.echo is None
        assert not found.told


def test_answers_that_cannot_be_read() -> None:
    with (
        asked("openai-chat", Script(faults=[Fault("null_content")])) as (backend, server, _),
        pytest.raises(BackendError, match="3 answers in a row could not be read"),
    ):
        backend.check(WRITTEN)
    assert posts(server) == 3


# -- lmrun doctor ------------------------------------------------------------------------------------------------------


def test_the_survey_of_completions(tokenizer: str) -> None:
    with asked("openai-completions", tokenizer=tokenizer) as (backend, _, _):
        found = {c.name: c.state for c in backend.capabilities()}
    assert found.pop("key") == "unknown"
    assert set(found.values()) == {"yes"}
    assert {"address", "models", "answers", "parameters", "stops", "context length", "token ids", "same tokenizer",
            "prompt_logprobs", "echo with logprobs", "next-token logprobs"} == set(found)  # fmt: skip


def test_the_survey_of_a_server_that_is_not_there() -> None:
    with asked("openai-chat", base_url="http://127.0.0.1:9/v1") as (backend, _, _):
        found = {c.name: c for c in backend.capabilities()}
    assert found["address"].state == "no"
    assert "is it running, and base_url right?" in found["address"].advice
    assert set(found) == {"key", "address"}


def test_the_survey_names_near_models() -> None:
    with asked("openai-chat", Script(model="tiny-2")) as (backend, _, _):
        found = {c.name: c for c in backend.capabilities()}
    assert found["models"].state == "no"
    assert found["models"].advice == "did you mean 'tiny-2'?"
    assert found["answers"].state == "no"


def test_keys_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    with asked("openai-chat", Script(api_key="sk-very-secret"), api_key_env="MY_KEY") as (backend, _, _):
        found = backend.capabilities()
    assert found[0].found == "$MY_KEY is set"
    assert "sk-very-secret" not in str(found)
    with asked("openai-chat", Script(api_key="another"), api_key_env="MY_KEY") as (backend, _, _):
        found = backend.capabilities()
    assert "no" in [c.state for c in found]
    assert "sk-very-secret" not in str(found)


def test_a_server_that_is_not_reached_stops_the_model() -> None:
    with ScriptedServer() as server:
        url = server.base_url
        wrong = _not_reached(url.replace("http:", "https:"))
    assert "speaks http, not https" in str(wrong) and wrong.hint == "correct base_url"
    down = _not_reached(url)
    assert "Connection refused" in str(down) and "is it running" in (down.hint or "")


def _not_reached(url: str) -> ModelError:
    options = {"base_url": url, "retry": {"attempts": 2, "max_wait": 0.01}}
    backend = backend_class("openai-chat")(ModelSpec("m", "openai-chat", "tiny", options))
    assert isinstance(backend, ApiBackend)
    try:
        backend.load()
        with pytest.raises(ModelError) as refused:
            backend.check(WRITTEN)
    finally:
        backend.close()
    return refused.value
