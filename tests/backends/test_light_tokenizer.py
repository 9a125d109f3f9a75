"""The light tokenizer gives the tokens and the chats that transformers gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.backends.light_tokenizer import LightTokenizer, load_tokenizer
from lmrun.backends.source import locate
from lmrun.errors import BackendError
from tests.backends import make

pieces = st.one_of(
    st.sampled_from([*make.WORDS, " ", "\n", ":", "<|begin|>", "<|end|>", "<tool>", "é", "\U0001f600"]),
    st.text(max_size=3),
)
texts = st.lists(pieces, max_size=8).map("".join)

TEMPLATES = {
    "plain": make.CHAT_TEMPLATE,
    "chatml": (
        "{%- for message in messages %}\n"
        "    {%- if loop.first and message.role != 'system' %}\n"
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "    {%- endif %}\n"
        "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
        "{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "stripped": (
        "{{ bos_token }}{% for m in messages %}"
        "{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
        "{{ '<start>' + role + '\\n' + m['content'] | trim + '<end>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start>model\\n' }}{% endif %}"
    ),
    "extended": (
        "{% set ns = namespace(seen=0) %}{{ bos_token }}{{ {'b': '<é>', 'a': [1, 2]} | tojson }}"
        "{% for m in messages %}{% if m.content == 'skip' %}{% continue %}{% endif %}{% set ns.seen = ns.seen + 1 %}"
        "{% if m.role == 'assistant' %}[{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}]"
        "{% else %}{{ m.content.split('</think>')[-1].strip() }}{% endif %}{% endfor %}{{ ns.seen }}"
    ),
}
CHATS: list[list[dict[str, str]]] = [
    [{"role": "user", "content": "  two and two?\n"}],
    [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "<hi> & bye"}],
    [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "<think>x</think> 1 "},
        {"role": "user", "content": "skip"},
    ],
]
PREFILLS = ["The answer is", "The answer is ", "", "12\n"]


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[LightTokenizer, Any]]:
    """A tokenizer as the light one and as transformers load it from the same files."""
    transformers = pytest.importorskip("transformers")
    made: dict[Any, tuple[LightTokenizer, Any]] = {}

    def load(kind: str, template: str = "plain", add_bos_token: bool | None = None) -> tuple[LightTokenizer, Any]:
        key = (kind, template, add_bos_token)
        if key not in made:
            folder = tmp_path_factory.mktemp("tokenizer")
            built = make.tokenizer(kind, TEMPLATES[template])
            built.add_tokens(["<tool>"])
            built.save_pretrained(folder)
            bos = {} if add_bos_token is None else {"add_bos_token": add_bos_token}
            reference = transformers.AutoTokenizer.from_pretrained(folder, **bos)
            made[key] = LightTokenizer(folder, add_bos_token=add_bos_token), reference
        return made[key]

    return load


@settings(deadline=None, max_examples=300)
@given(
    kind=st.sampled_from(make.TOKENIZERS),
    add_bos_token=st.sampled_from([None, False]),
    text=texts,
    special=st.booleans(),
)
def test_tokens_are_those_of_transformers(
    pair: Callable[..., tuple[LightTokenizer, Any]], kind: str, add_bos_token: bool | None, text: str, special: bool
) -> None:
    light, reference = pair(kind, add_bos_token=add_bos_token)
    tokens = light.encode(text, add_special_tokens=special)
    assert tokens == reference.encode(text, add_special_tokens=special)
    assert light.decode(tokens, skip_special_tokens=special) == reference.decode(tokens, skip_special_tokens=special)


@pytest.mark.parametrize("kind", ["bytes-bos", "pieces-bos"])
def test_a_bos_is_added_where_it_is_asked_for(pair: Callable[..., tuple[LightTokenizer, Any]], kind: str) -> None:
    light, reference = pair(kind, add_bos_token=True)
    assert light.encode("the cat") == reference.encode("the cat")
    assert light.encode("the cat")[0] == light.bos_token_id


@pytest.mark.parametrize("kind", make.TOKENIZERS)
def test_special_tokens_are_those_of_transformers(pair: Callable[..., tuple[LightTokenizer, Any]], kind: str) -> None:
    light, reference = pair(kind)
    names = ("bos_token", "bos_token_id", "eos_token_id")
    assert [getattr(light, n) for n in names] == [getattr(reference, n) for n in names]
    assert light.special_tokens == reference.special_tokens_map


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("prompt", [True, False])
def test_chats_are_rendered_as_transformers_renders_them(
    pair: Callable[..., tuple[LightTokenizer, Any]], template: str, chat: list[dict[str, str]], prompt: bool
) -> None:
    light, reference = pair("bytes-bos", template)
    assert _rendered(light, chat, add_generation_prompt=prompt) == _rendered(
        reference, chat, add_generation_prompt=prompt
    )


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("prefill", PREFILLS)
def test_a_last_message_is_left_open_as_by_transformers(
    pair: Callable[..., tuple[LightTokenizer, Any]], template: str, prefill: str
) -> None:
    light, reference = pair("bytes-bos", template)
    chat = [*CHATS[0], {"role": "assistant", "content": prefill}]
    assert _rendered(light, chat, continue_final_message=True) == _rendered(
        reference, chat, continue_final_message=True
    )


def _rendered(tokenizer: Any, chat: list[dict[str, str]], **options: bool) -> str:
    from jinja2 import TemplateError

    try:
        text: str = tokenizer.apply_chat_template([dict(m) for m in chat], tokenize=False, **options)
    except TemplateError as error:
        return f"refused: {error}"
    return text


def test_a_template_that_drops_the_open_message_is_an_error(tmp_path: Path) -> None:
    make.tokenizer("bytes", "{{ messages[0].content }}").save_pretrained(tmp_path)
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    with pytest.raises(ValueError, match="leaves out the last message"):
        LightTokenizer(tmp_path).apply_chat_template(chat, continue_final_message=True)


def test_a_template_is_chosen_by_name(tmp_path: Path) -> None:
    made = make.tokenizer("bytes", "first")
    made.chat_template = {"default": "first", "other": "second"}
    made.save_pretrained(tmp_path)
    light = LightTokenizer(tmp_path)
    assert light.apply_chat_template([], chat_template="other") == "second"
    assert light.apply_chat_template([]) == "first"
    with pytest.raises(ValueError, match="no chat template 'thrid'"):
        light.apply_chat_template([], chat_template="thrid")


def test_a_file_that_cuts_and_pads_does_neither_here(tmp_path: Path) -> None:
    made = make.tokenizer("bytes")
    made.backend_tokenizer.enable_truncation(2)
    made.backend_tokenizer.enable_padding(length=9)
    made.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert len(LightTokenizer(tmp_path).encode("the cat sat on the mat")) == 6


def test_the_demo_model_has_a_light_tokenizer() -> None:
    light = load_tokenizer(locate("bundled:demo", None, offline=True), None)
    assert isinstance(light, LightTokenizer)
    assert light.decode(light.encode("The cat"), skip_special_tokens=True) == "The cat"


def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": None}))
    with pytest.raises(BackendError, match="could not be loaded"):
        load_tokenizer(locate(str(tmp_path), None, offline=True), None)
