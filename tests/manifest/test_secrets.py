"""A secret in a manifest is refused, and shown to nobody."""

from __future__ import annotations

import pytest

from lmrun.manifest.secrets import is_secret

from .conftest import GOOD, Load, Problems

VALUE = "sk-ant-0123456789"
PLUGIN = '[[models]]\nbackend = "scripted"\nmodel = "x"\n{}\n[[tasks]]\nname = "demo"\n'


@pytest.mark.parametrize(
    "line",
    [
        f'api_key = "{VALUE}"',
        f'options.api_key = "{VALUE}"',
        f'options = {{ headers = [{{ Authorization = "Bearer {VALUE}" }}] }}',
        f'options = {{ keys = ["a", "{VALUE}"] }}',
        f'options.api_key_env = "{VALUE}"',
        f'options.base_url = "https://me:{VALUE}@host/v1"',
        f'name = "{VALUE}"',
        f'[data]\ntoken = "{VALUE}"',
        f"options.api_key = {VALUE}",
        f'options.api_key = "{VALUE}',
    ],
)
def test_no_message_repeats_a_secret(problems: Problems, line: str) -> None:
    shown = "\n".join(map(str, problems(PLUGIN.format(line))))
    assert "0123456789" not in shown


@pytest.mark.parametrize(
    "override",
    [
        f"models.0.api_key={VALUE}",
        f"models.0.revision={VALUE}",
        f'models=[{{api_key = "{VALUE}"}}]',
        f"models.0.options={{a = {{token = '{VALUE}'}}}}",
    ],
)
def test_nor_does_one_about_the_command_line(problems: Problems, override: str) -> None:
    shown = "\n".join(map(str, problems(GOOD, override)))
    assert "looks like a secret" in shown
    assert "0123456789" not in shown


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("api_key", "x"),
        ("OPENAI_API_KEY", "x"),
        ("apikey", "x"),
        ("hf_token", "x"),
        ("token", "x"),
        ("password", "x"),
        ("client_secret", "x"),
        ("x", "hf_abcdefghijKLMNOPqrst"),
        ("x", "ghp_abcdefghij0123456789"),
        ("x", "AKIAABCDEFGHIJKLMNOP"),
        ("x", ["a", "sk-proj-12345678"]),
    ],
)
def test_these_are_secrets(key: str, value: object) -> None:
    assert is_secret(key, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("api_key_env", "OPENAI_API_KEY"),
        ("api_key", ""),
        ("token", True),
        ("eos_token", "</s>"),
        ("tokenizer", "gpt2"),
        ("batch_tokens", "auto"),
        ("model", "hf_llama_7b"),
        ("model", "sk-models/small"),
        ("base_url", "https://host:8000/v1"),
        ("system_instruction", "Keep the secret. Your password is: none"),
    ],
)
def test_these_are_not(key: str, value: object) -> None:
    assert not is_secret(key, value)


def test_the_name_of_a_variable_is_fine(load: Load) -> None:
    (model,) = load(PLUGIN.format('options.api_key_env = "OPENAI_API_KEY"')).models
    assert model.options == {"api_key_env": "OPENAI_API_KEY"}
