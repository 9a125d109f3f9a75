"""Tokenizers without transformers: ``tokenizer.json``, special tokens and chat template, read from a model's files.

Transformers takes seconds and gigabytes to import; a model behind an API needs nothing of it but its tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lmrun.backends import fingerprint as files
from lmrun.backends.source import Source
from lmrun.backends.templates import template_file, template_name
from lmrun.backends.tokenize import Encoder, Tokenizer, Tokens
from lmrun.errors import BackendError

if TYPE_CHECKING:
    import jinja2

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_OPEN_END = "\u2060<open end>\u2060 "
"""Marks in a rendered chat where its last message ends; the space tells whether the template strips messages."""


def load_tokenizer(source: Source, add_bos_token: bool | None) -> Tokenizer:
    """The tokenizer at ``source``; by transformers only where there is no ``tokenizer.json``.

    Raises:
        BackendError: its files cannot be read, or transformers is needed and not installed.
    """
    if not (source.folder / "tokenizer.json").is_file():
        return _by_transformers(source, add_bos_token)
    try:
        return LightTokenizer(source.folder, add_bos_token=add_bos_token)
    except Exception as error:  # boundary: the library raises bare exceptions
        raise BackendError(
            f"the tokenizer in {source.folder} could not be loaded: {error}",
            hint="is tokenizer.json complete? a newer `tokenizers` may be able to read it",
        ) from error


def load_encoder(source: Source, *, add_bos_token: bool | None, chat_template: str | None) -> Encoder:
    """What turns requests into tokens, with the tokenizer at ``source`` and the template that a manifest names.

    Raises:
        BackendError: see :func:`load_tokenizer`.
    """
    return encoder_of(load_tokenizer(source, add_bos_token), add_bos_token, chat_template)


def encoder_of(tokenizer: Tokenizer, add_bos_token: bool | None, chat_template: str | None) -> Encoder:
    """What turns requests into tokens, with the template that a manifest names in the place of the tokenizer's."""
    if (template := template_file(chat_template)) is not None:
        tokenizer.chat_template = template
    return Encoder(tokenizer, add_bos_token=add_bos_token, template_name=template_name(chat_template))


def _by_transformers(source: Source, add_bos_token: bool | None) -> Tokenizer:
    try:
        from lmrun.backends.hf import loading
        from lmrun.backends.hf.options import HfOptions

        with loading.quiet():
            loaded: Tokenizer = loading.load_tokenizer(source, HfOptions(add_bos_token=add_bos_token))
    except ImportError as error:
        raise BackendError(
            f"{source.folder} has no tokenizer.json, and transformers, which could make one, is not installed",
            hint='pip install "lmrun[hf]", or save the tokenizer again with a transformers that writes tokenizer.json',
        ) from error
    return loaded


class LightTokenizer:
    """A ``tokenizer.json`` with its special tokens and chat template; gives the tokens that transformers gives.

    Args:
        folder: with the files.
        add_bos_token: add a BOS to every text, or to none; None leaves it to the file.
    """

    def __init__(self, folder: Path, *, add_bos_token: bool | None = None) -> None:
        import tokenizers

        self.backend_tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        # What a file says about batches of texts is not meant for single ones.
        self.backend_tokenizer.no_truncation()
        self.backend_tokenizer.no_padding()
        config = files.read_json(folder / "tokenizer_config.json")
        self._add_tokens(config)
        if "added_tokens_decoder" not in config:
            config |= files.read_json(folder / "special_tokens_map.json")
        self.special_tokens = {name: _text(config[name]) for name in _SPECIAL if config.get(name)}
        self.backend_tokenizer.add_special_tokens(list(self.special_tokens.values()))
        self.bos_token = self.special_tokens.get("bos_token")
        self.bos_token_id = self._id(self.bos_token)
        self.eos_token_id = self._id(self.special_tokens.get("eos_token"))
        self.chat_template: Any = _chat_templates(folder)
        if add_bos_token is not None:
            self._begin_with(self.bos_token if add_bos_token else None)

    def _add_tokens(self, config: Mapping[str, Any]) -> None:
        from tokenizers import AddedToken

        known = self.backend_tokenizer.get_added_tokens_decoder()
        listed = sorted((int(i), token) for i, token in config.get("added_tokens_decoder", {}).items())
        self.backend_tokenizer.add_tokens([AddedToken(**token) for i, token in listed if i not in known])

    def _id(self, token: str | None) -> int | None:
        found: int | None = None if token is None else self.backend_tokenizer.token_to_id(token)
        return found

    def _begin_with(self, bos: str | None) -> None:
        from tokenizers.processors import TemplateProcessing

        special = [] if bos is None else [(bos, self.bos_token_id)]
        self.backend_tokenizer.post_processor = TemplateProcessing(
            single="$A" if bos is None else [bos, "$A"], special_tokens=special
        )

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text."""
        # Without where each token stands in the text, which nobody asks for and which takes a fifth of the time.
        (encoded,) = self.backend_tokenizer.encode_batch_fast([text], add_special_tokens=add_special_tokens)
        ids: list[int] = encoded.ids
        return ids

    def decode(self, token_ids: Tokens, *, skip_special_tokens: bool = False) -> str:
        """Text of token ids."""
        text: str = self.backend_tokenizer.decode(list(token_ids), skip_special_tokens=skip_special_tokens)
        return text

    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, Any]],
        *,
        tokenize: bool = False,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        chat_template: str | None = None,
    ) -> str:
        """A conversation as the model's text; ``chat_template`` names one of several templates.

        Raises:
            jinja2.TemplateError: the template refuses the conversation.
            ValueError: there is no such template, or it drops the end of the message that is to be continued.
        """
        assert not tokenize, "text is wanted: tokens are made of it as of any other text"
        template = _compiled(self._named(chat_template))
        messages = [dict(message) for message in conversation]
        if continue_final_message:
            messages[-1]["content"] += _OPEN_END
        text = template.render(
            messages=messages,
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **self.special_tokens,
        )
        return _open_ended(text) if continue_final_message else text

    def _named(self, name: str | None) -> str:
        known = {"default": self.chat_template} if isinstance(self.chat_template, str) else self.chat_template or {}
        chosen = known.get(name or "default")
        if chosen is None:
            raise ValueError(f"there is no chat template {name or 'default'!r}, only {sorted(known)}")
        return str(chosen)


def _open_ended(text: str) -> str:
    end = text.rfind(_OPEN_END.strip())
    if end < 0:
        raise ValueError("the chat template leaves out the last message, which is to be continued")
    return text[:end] if text.startswith(_OPEN_END, end) else text[:end].rstrip()


def _text(token: str | Mapping[str, Any]) -> str:
    return token if isinstance(token, str) else str(token["content"])


def _chat_templates(folder: Path) -> str | dict[str, str] | None:
    """The template, or several by name."""
    single = folder / "chat_template.jinja"
    named = {p.stem: p.read_text(encoding="utf-8") for p in folder.glob("additional_chat_templates/*.jinja")}
    if single.is_file():
        default = single.read_text(encoding="utf-8")
        return {"default": default, **named} if named else default
    if named:
        return named
    stated = files.read_json(folder / "tokenizer_config.json").get("chat_template")
    if stated is None:
        stated = files.read_json(folder / "chat_template.json").get("chat_template")
    return {t["name"]: t["template"] for t in stated} if isinstance(stated, list) else stated


@lru_cache(maxsize=8)
def _compiled(template: str) -> jinja2.Template:
    """A template, ready to render: in a sandbox, for it comes from the hub, and with what templates count on there."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _generation_block()]
    )
    environment.filters["tojson"] = _as_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment.from_string(template)


def _as_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _generation_block() -> type[jinja2.ext.Extension]:
    from jinja2 import nodes
    from jinja2.ext import Extension

    class GenerationBlock(Extension):
        """``{% generation %}`` marks for training what an assistant has written; here it is but its content."""

        tags = {"generation"}  # noqa: RUF012 - the library's way

        def parse(self, parser: Any) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    return GenerationBlock
