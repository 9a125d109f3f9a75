"""The ``vllm`` backend: identity, tokenizer, and engines that are started when it is known what they will be asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from lmrun.backends import fingerprint as files
from lmrun.backends.base import Capability, Chunk, ModelIdentity, ModelSpec, Needs, Usage
from lmrun.backends.hf.identify import resolve_dtype, stated_max_length
from lmrun.backends.hf.loading import load_counter, load_encoder
from lmrun.backends.hf.reasoning import ReasoningDecoder
from lmrun.backends.hf.sources import read_config
from lmrun.backends.source import Source, locate
from lmrun.backends.templates import delimiters
from lmrun.backends.vllm.desk import Desk
from lmrun.backends.vllm.devices import device_groups
from lmrun.backends.vllm.identify import adapter_config, identify, version
from lmrun.backends.vllm.messages import Start
from lmrun.backends.vllm.options import VllmOptions
from lmrun.backends.vllm.process import Engine, log_file
from lmrun.backends.vllm.pump import Pump
from lmrun.errors import BackendError
from lmrun.requests import Request

_LARGE_VOCABULARY = 262_144
"""Taken where the configuration does not say, to be safe."""


class VllmBackend:
    """A model that vLLM runs, in processes that this one starts."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._options = VllmOptions.of(spec)
        self._desk: Desk | None = None
        self._pump: Pump | None = None
        self._scores = False

    # -- who it is -----------------------------------------------------------------------------------------------------

    def identify(self) -> ModelIdentity:
        """Say who the model is from its files. Raises :class:`~lmrun.errors.BackendError`."""
        return identify(self._source, self._tokenizer_source, self._adapter_source, self._options)

    @cached_property
    def _source(self) -> Source:
        return locate(self._spec.model, self._options.model.revision, self._spec.offline)

    @cached_property
    def _tokenizer_source(self) -> Source:
        named = self._options.model.tokenizer
        return locate(named, None, self._spec.offline) if named else self._source

    @cached_property
    def _adapter_source(self) -> Source | None:
        return locate(self._options.adapter, None, self._spec.offline) if self._options.adapter else None

    @cached_property
    def _config(self) -> dict[str, Any]:
        return read_config(self._source)

    @cached_property
    def _max_length(self) -> int:
        return self._options.model.max_length or stated_max_length(self._config, self._tokenizer_source.folder)

    # -- loading -------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Load the tokenizer; the engines are started by the first request. Raises ``BackendError``."""
        if self._desk:
            return
        options, folder = self._options.model, self._tokenizer_source.folder
        found = delimiters(folder, options.reasoning, options.chat_template)
        encoder = load_encoder(self._tokenizer_source, self._options.model)
        configured = files.read_json(self._source.folder / "generation_config.json")
        self._desk = Desk(
            encoder,
            self._max_length,
            too_long=options.too_long,
            ends=_ends(self._configured_end(configured), encoder.tokenizer.eos_token_id),
            reasoning=ReasoningDecoder.of(encoder.tokenizer, found) if found else None,
            configured=configured,
            # vLLM 0.32 confuses the rows of a batch where a prompt's tokens are scored below an adapter.
            tails=self._adapter_source is None,
        )
        self._pump = Pump(self._desk, self._start)

    def _configured_end(self, configured: Mapping[str, Any]) -> Any:
        return configured.get("eos_token_id", self._config.get("eos_token_id"))

    def counter(self) -> Callable[[Request], int]:
        """Counts prompt tokens with the tokenizer. Raises :class:`~lmrun.errors.BackendError`."""
        return load_counter(self._tokenizer_source, self._options.model)

    def _start(self, deaths: int) -> Sequence[Engine]:
        """The engines, on their devices."""
        groups = device_groups(self._options.devices, self._options.data_parallel_size)
        start = replace(self._first_words(), deaths=deaths)
        log = log_file(self._spec.state)
        offline = {"HF_HUB_OFFLINE": "1"} if self._spec.offline or self._source.offline else {}
        engines: list[Engine] = []
        for group in groups:
            visible = {"CUDA_VISIBLE_DEVICES": ",".join(group)} if group else {}
            engines.append(Engine(start, log, {**offline, **visible}))
        return engines

    def _first_words(self) -> Start:
        options, source, tokenizer = self._options, self._source, self._tokenizer_source
        arguments: dict[str, Any] = {
            "model": source.name,
            "revision": source.commit,
            "tokenizer": tokenizer.name,
            "tokenizer_revision": tokenizer.commit,
            "trust_remote_code": options.model.trust_remote_code,
            "dtype": resolve_dtype(options.model.dtype, self._config),
            # A token is generated behind the longest input, whether it is wanted or not.
            "max_model_len": self._max_length + 1,
            "quantization": options.quantization,
            "tensor_parallel_size": options.tensor_parallel_size,
            "pipeline_parallel_size": options.pipeline_parallel_size,
            "enforce_eager": options.enforce_eager,
            "seed": options.seed,
            # What it says of sampling is put into each request, where the sample can tell of it.
            "generation_config": "vllm",
            **options.engine,
        }
        adapter = self._adapter_source
        rank = int(adapter_config(adapter).get("r", 0)) if adapter else 0
        folder = _adapter_folder(adapter) if adapter else None
        return Start(
            arguments, _vocabulary(self._config), options.gpu_memory_utilization, self._scores, 0, folder, rank
        )

    def close(self) -> None:
        """End the engines; their memory is free then."""
        if self._pump:
            self._pump.close()
        self._pump = self._desk = None

    def usage(self) -> Usage:
        """What is under way, and the facts of the engines."""
        pump, desk = self._pump, self._desk
        if pump is None or desk is None:
            return Usage()
        ready = [engine.ready for engine in pump.engines if engine.ready]
        facts: dict[str, Any] = {"vllm": version(), "max_length": self._max_length}
        if ready:
            facts |= ready[0].facts
            counts = {"forwarded_tokens": desk.forwarded, "cached_tokens": desk.cached, "decoded_tokens": desk.decoded}
            facts |= counts
        facts |= {k: n for k, n in (("drained", pump.drained), ("abandoned", pump.abandoned)) if n}
        starting = bool(pump.engines) and not ready
        return Usage(
            phase="starting vLLM" if starting else "",
            device=facts.get("device_name"),
            facts=facts,
            in_flight=pump.in_flight,
            limit=sum(each.most_at_once for each in ready) or None,
        )

    # -- answering -----------------------------------------------------------------------------------------------------

    def check(self, needs: Needs) -> None:
        """Whether the model can be asked such requests; what it will be asked sets the engines' limits.

        Raises:
            BackendError: messages are to be put into a chat template that it has not got.
        """
        if needs.messages and not self._ready_desk().encoder.has_chat_template():
            raise BackendError(
                f'model "{self._spec.name}" has no chat template, and the prompts are messages',
                hint="apply_chat_template = false, or name a file with a template as chat_template of the model",
            )
        self._scores |= bool(needs.kinds - {"generate_until"})

    def capabilities(self) -> Sequence[Capability]:
        """What is known without starting an engine."""
        template = self._ready_desk().encoder.has_chat_template()
        return [
            Capability("identity", "yes", self.identify().fingerprint),
            Capability("ready", "unknown", f"vLLM {version()}; its engine starts with the first request"),
            Capability("dtype", "yes", resolve_dtype(self._options.model.dtype, self._config)),
            Capability("context length", "yes", str(self._max_length)),
            Capability(
                "chat template", "yes" if template else "no", "in the tokenizer's files" if template else "none"
            ),
        ]

    def stream(self, requests: Iterator[tuple[int, Request]]) -> Iterator[Chunk]:
        """Answer requests as they finish. Raises :class:`~lmrun.errors.BackendError`: the engine has died twice."""
        self._ready_desk()
        assert self._pump is not None
        return self._pump.run(requests)

    def run(self, requests: Sequence[Request], answered: Collection[int] = frozenset()) -> Iterator[Chunk]:
        """Answer requests of one kind."""
        self.check(Needs(frozenset(request.kind for request in requests), messages=_chats(requests)))
        return self.stream((i, request) for i, request in enumerate(requests) if i not in answered)

    def _ready_desk(self) -> Desk:
        if self._desk is None:
            raise BackendError(f'model "{self._spec.name}" is not loaded', hint="call load() first")
        return self._desk


def _chats(requests: Sequence[Request]) -> bool:
    return any(not isinstance(request.context, str) for request in requests)


def _vocabulary(config: Mapping[str, Any]) -> int:
    text = config.get("text_config") or {}
    return int(text.get("vocab_size") or config.get("vocab_size") or _LARGE_VOCABULARY)


def _ends(*stated: Any) -> list[int]:
    """Tokens that end an answer, as files and tokenizer state them: one, several or none."""
    listed = (value if isinstance(value, list) else [value] for value in stated if value is not None)
    return sorted({int(token) for tokens in listed for token in tokens})


def _adapter_folder(adapter: Source) -> str:
    """The adapter with its weights, which are fetched where they are on the hub."""
    if adapter.commit is None:
        return str(adapter.folder)
    import huggingface_hub as hub

    return str(hub.snapshot_download(adapter.name, revision=adapter.commit, local_files_only=adapter.offline))
