"""What a manifest may say of a model, backend by backend."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from lmrun.manifest.backends import backend_names
from lmrun.manifest.values import (
    AnyText,
    Axis,
    BatchTokens,
    Count,
    Device,
    DeviceMap,
    Dtype,
    FileWithin,
    Flag,
    Label,
    MaxMemory,
    Mode,
    NotNegative,
    Option,
    Positive,
    Prompts,
    Quantization,
    Reasoning,
    Replicas,
    Scoring,
    Seconds,
    Section,
    Share,
    Text,
    Texts,
    TooLong,
    Url,
    one_of,
)

HF, VLLM, COMPLETIONS, CHAT, ANTHROPIC = "<hf>", "<vllm>", "<openai-completions>", "<openai-chat>", "<anthropic>"
PLUGIN = "<plug-in>"
KINDS = frozenset({HF, VLLM, COMPLETIONS, CHAT, ANTHROPIC, PLUGIN})
"""Tags of the forms of a model's table."""


def _known_backend(name: str) -> str:
    names = backend_names()
    if name not in names:
        context = {"expected": one_of(names), "choices": list(names)}
        raise PydanticCustomError("expected", "{expected}", context)
    return name


# What is installed differs between machines, so the schema of the file leaves the name open.
PluginName: TypeAlias = Annotated[
    Text,
    AfterValidator(_known_backend),
    WithJsonSchema(
        {"type": "string", "not": {"enum": ["hf", "vllm", "openai-completions", "openai-chat", "anthropic"]}}
    ),
]


class ModelKeys(Section):
    """What every model has."""

    name: Label | None = None
    """Unique label in results. Absent: the last part of `model`. Axes add to it: `name[dtype=float32]`."""
    model: Axis[Text]
    """Hub id, local path relative to this file, served name, or `bundled:demo`."""


class HfModel(ModelKeys):
    """A model that transformers loads. A list as a value of any key but `name` and `backend` is a matrix axis."""

    backend: Literal["hf"]
    """`hf`: transformers, on this machine."""
    revision: Axis[Text] | None = None
    """Branch, tag or commit on the hub."""
    dtype: Axis[Dtype] = "auto"
    """Precision of the weights; `auto` is what the model was saved in."""
    device: Axis[Device] = "auto"
    """Where the model runs; `auto` is a GPU if there is one, or else the CPU."""
    device_map: Axis[DeviceMap] | None = None
    """Spread the model over devices, as accelerate does. Not together with `device`."""
    max_memory: MaxMemory | None = None
    """With `device_map`: what may be used of each device, as in `{ 0 = "20GiB", cpu = "60GiB" }`."""
    offload_folder: Text | None = None
    """With `device_map`: folder for weights that fit on no device."""
    replicas: Replicas = 1
    """Copies of the model, each in a process and on a GPU of its own; `auto` is one per GPU."""
    batch_tokens: Axis[BatchTokens] = "auto"
    """Tokens per batch, padding included; `auto` measures the memory."""
    max_length: Axis[Positive] | None = None
    """Longest input in tokens. Absent: what the model says."""
    adapter: Axis[Text] | None = None
    """Hub id or local path of a PEFT adapter (LoRA …), put on the model."""
    delta: Axis[Text] | None = None
    """Hub id or local path of weights that are added to those of the model."""
    gguf_file: Axis[FileWithin] | None = None
    """Name of a GGUF file in the folder or repository of the model, loaded in place of its other weights."""
    quantization: Axis[Quantization] | None = None
    """Let bitsandbytes quantise the weights. Absent: as the checkpoint is, which may be quantised itself."""
    compile: Axis[Flag] = False
    """Compile the forward pass with `torch.compile`."""
    trust_remote_code: Axis[Flag] = False
    """Run Python code that comes with the model."""
    add_bos_token: Axis[Flag] | None = None
    """Begin every input with the BOS token. Absent: what the tokenizer does."""
    tokenizer: Axis[Text] | None = None
    """Hub id or local path of another tokenizer."""
    attn_implementation: Axis[Text] | None = None
    """For example `sdpa`, `eager` or `flash_attention_2`."""
    chat_template: Axis[Text] | None = None
    """File with a template relative to this file, or name of one of the model's templates."""
    reasoning: Axis[Reasoning] | None = None
    """Split off what the model thinks aloud, by these delimiters; `auto` looks for known ones. Absent: do not split."""
    too_long: Axis[TooLong] = "left"
    """What becomes of a prompt that does not fit: it is cut on the `left` or in the `middle`, or its sample is an
    `error`, or left out (`skip`)."""
    prefix_sharing: Axis[Literal["auto", "off"]] = "auto"
    """Compute what prompts begin with alike only once."""
    exact: Axis[Flag] = False
    """Compute every request as if it were alone, with no shared prefix and no answer of a run without this: for audits.
    On a CPU in float32 a score then depends on its request alone, to the last bit."""


class VllmModel(ModelKeys):
    """A model that vLLM runs. A list as a value of any key but `name`, `backend` and `engine` is a matrix axis."""

    backend: Literal["vllm"]
    """`vllm`: vLLM's engine, on this machine."""
    revision: Axis[Text] | None = None
    """Branch, tag or commit on the hub."""
    dtype: Axis[Dtype] = "auto"
    """Precision of the weights; `auto` is what the model was saved in. Not `float64`."""
    max_length: Axis[Positive] | None = None
    """Longest input in tokens. Absent: what the model says."""
    quantization: Axis[Text] | None = None
    """How vLLM is to read or make quantized weights, for example `fp8`. Absent: as the model's files say."""
    adapter: Axis[Text] | None = None
    """LoRA adapter on top of the model: hub id or local path."""
    tensor_parallel_size: Positive = 1
    """Devices that share every layer."""
    pipeline_parallel_size: Positive = 1
    """Devices, or groups of them, among which the layers are divided."""
    data_parallel_size: Positive = 1
    """Engines beside each other, each with the whole model on devices of its own."""
    gpu_memory_utilization: Share | None = None
    """Share of a device's memory that the engine plans with. Absent: what leaves room for log-probabilities, or 0.9."""
    enforce_eager: Flag = False
    """Start faster and compute slower, without graphs and compilation."""
    seed: Axis[Count] = 0
    """Of the engine. Each sampled answer has a seed of its own, whatever stands here."""
    trust_remote_code: Axis[Flag] = False
    """Run Python code that comes with the model."""
    add_bos_token: Axis[Flag] | None = None
    """Begin every input with the BOS token. Absent: what the tokenizer does."""
    tokenizer: Axis[Text] | None = None
    """Hub id or local path of another tokenizer."""
    chat_template: Axis[Text] | None = None
    """File with a template relative to this file, or name of one of the model's templates."""
    reasoning: Axis[Reasoning] | None = None
    """Split off what the model thinks aloud, by these delimiters; `auto` looks for known ones. Absent: do not split."""
    too_long: Axis[TooLong] = "left"
    """What becomes of a prompt that does not fit; as for `hf`."""
    engine: dict[str, Option] | None = None
    """Further arguments of vLLM's engine, such as `{ kv_cache_dtype = "fp8" }`; they win. In the cache key."""


class Concurrency(Section):
    """How many requests may be on their way at once; adapted to what the server bears."""

    start: Positive | None = None
    """In flight at first. Absent: 8, or `max` where that is less."""
    max: Positive = 64
    """In flight at most."""


class Retry(Section):
    """What happens to a request that failed for a reason that may pass (429, 5xx, a broken connection)."""

    attempts: Positive = 8
    """Tries per request, the first one included."""
    max_wait: Seconds = 60.0
    """Longest wait between two tries. A `Retry-After` of the server beyond it is kept all the same."""


class Timeout(Section):
    """When a request counts as lost; in seconds."""

    connect: Seconds = 10.0
    """Until the connection stands."""
    idle: Seconds | None = None
    """Between two pieces of an answer, the first included. Absent: the same as `total`."""
    total: Seconds | None = None
    """For the whole request. Absent: by the tokens it may generate."""


class Price(Section):
    """What tokens cost, in US dollars per million; wins over the table of prices."""

    input: NotNegative
    """Prompt tokens."""
    output: NotNegative
    """Generated tokens, reasoning included."""
    cached: NotNegative | None = None
    """Prompt tokens that the provider had in its cache. Absent: as `input`."""
    batch: Annotated[float, Field(gt=0, le=1)] = 0.5
    """What share of these prices is charged where `mode = "batch"`."""


class Dialect(Section):
    """What this server understands otherwise than the protocol says; put over what is known of the provider."""

    rename: dict[str, AnyText] | None = None
    """Parameters by another name: `{ max_tokens = "max_completion_tokens" }`."""
    drop: Texts | None = None
    """Parameters that are left out."""
    max_stops: Positive | None = None
    """Stop strings that a request may have; all of them are applied to the answer here as well."""
    max_top_logprobs: Positive | None = None
    """Alternatives per token that a request may ask for."""


class ApiKeys(ModelKeys):
    """What every model behind an HTTP API has."""

    base_url: Url | None = None
    """Address up to the version, as in `http://127.0.0.1:8000/v1`. Absent: that of the provider."""
    api_key_env: Text | None = None
    """Name of the environment variable that holds the key. Absent: the provider's usual one, if it is asked."""
    api_key_header: Text | None = None
    """Header that carries the bare key, such as `api-key`. Absent: `Authorization: Bearer`, or the provider's own."""
    headers: dict[str, AnyText] | None = None
    """Further headers. No secrets: the manifest is stored with the run."""
    query: dict[str, AnyText] | None = None
    """Added to every address, such as `{ api-version = "2024-10-21" }`."""
    extra_body: dict[str, Option] | None = None
    """Put into the body of every request. Part of what makes an answer."""
    concurrency: Concurrency = Field(default_factory=Concurrency)
    """How many requests may be on their way at once."""
    requests_per_minute: Positive | None = None
    """No more than these. Absent: as the server bears."""
    tokens_per_minute: Positive | None = None
    """Prompt tokens and the most that may be generated, together."""
    retry: Retry = Field(default_factory=Retry)
    """What happens to a request that failed for a reason that may pass."""
    timeout: Timeout = Field(default_factory=Timeout)
    """When a request counts as lost."""
    price: Price | None = None
    """What tokens cost."""
    dialect: Dialect | None = None
    """What this server understands otherwise."""
    mode: Mode = "live"
    """`batch`: by the provider's batch API, at a lower price and within a day."""
    max_length: Axis[Positive] | None = None
    """Context in tokens. Absent: what the server says, if it does."""
    reasoning: Axis[Reasoning] | None = None
    """Split off reasoning that stands in the answer, by these delimiters. What the server splits off is kept apart."""


class CompletionsModel(ApiKeys):
    """A model behind `/completions` of OpenAI or a server that is compatible (vLLM, SGLang, llama.cpp, TGI …)."""

    backend: Literal["openai-completions"]
    """`openai-completions`: plain prompts, generated and scored."""
    tokenizer: Axis[Text] | None = None
    """Hub id or local path of the model's tokenizer: prompts are then counted, cut and joined here."""
    prompts: Axis[Prompts] = "auto"
    """Send prompts as `tokens` or as `text`; `auto` is tokens where there is a tokenizer and the server takes them."""
    add_bos_token: Axis[Flag] | None = None
    """With a tokenizer: begin every input with the BOS token. Absent: what the tokenizer does."""
    chat_template: Axis[Text] | None = None
    """With a tokenizer: file with a template relative to this file, or name of one of the tokenizer's templates."""
    too_long: Axis[TooLong] = "left"
    """What becomes of a prompt that does not fit, where it can be told; as for `hf`."""
    scoring: Axis[Scoring] = "auto"
    """How continuations are scored: `echo` of the prompt with logprobs, `prompt_logprobs` (vLLM), or `next_token` for
    choices of one token; `auto` takes what the server answers rightly."""
    batch_prompts: Positive = 1
    """Prompts per HTTP request."""


class ChatModel(ApiKeys):
    """A model behind `/chat/completions` of OpenAI or a server that is compatible."""

    backend: Literal["openai-chat"]
    """`openai-chat`: messages, answered; choices of one token scored, where the server has `top_logprobs`."""


class AnthropicModel(ApiKeys):
    """A model behind Anthropic's `/messages`, or a server that is compatible."""

    backend: Literal["anthropic"]
    """`anthropic`: messages, answered."""


class PluginModel(ModelKeys):
    """A model behind a backend that is installed as a plug-in, or behind `scripted`."""

    backend: PluginName
    """Name of the backend; `lmrun ls backends` lists them."""
    options: dict[str, Option] = Field(default_factory=dict)
    """Whatever the backend understands. Lists in here are values, not axes."""


def _kind_of_model(value: Any) -> str:
    tag = f"<{value.get('backend')}>" if isinstance(value, dict) else PLUGIN
    return tag if tag in KINDS else PLUGIN


ModelItem: TypeAlias = Annotated[
    Annotated[HfModel, Tag(HF)]
    | Annotated[VllmModel, Tag(VLLM)]
    | Annotated[CompletionsModel, Tag(COMPLETIONS)]
    | Annotated[ChatModel, Tag(CHAT)]
    | Annotated[AnthropicModel, Tag(ANTHROPIC)]
    | Annotated[PluginModel, Tag(PLUGIN)],
    Discriminator(_kind_of_model),
]

OPERATIONAL = frozenset(
    "api_key_env api_key_header concurrency requests_per_minute tokens_per_minute retry timeout price "
    "batch_prompts max_memory offload_folder replicas tensor_parallel_size pipeline_parallel_size data_parallel_size "
    "gpu_memory_utilization enforce_eager".split()
)
"""Keys that say how a model is asked and not what: a run goes on after they change."""
