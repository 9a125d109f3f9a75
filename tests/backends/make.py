"""Small tokenizers and models with random weights, made in the test run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.backends import kinds

WORDS = (
    "the cat sat on a mat and the dog sat by the door while rain fell over every answer question choice text "
    "Answer: Question: yes no maybe one two three four five six seven eight nine ten because therefore"
).split()
CORPUS = [
    " ".join(WORDS[i:] + WORDS[:i]) + tail
    for i in range(len(WORDS))
    for tail in (".\n", "?\nAnswer: yes\n\n", ":\n", " …\n")
]
VOCABULARY = 400
TOKENIZERS = ("bytes", "bytes-bos", "bytes-newlines", "pieces-bos")
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n<|assistant|>' }}{% endif %}"
)
ARCHITECTURES = ("llama", "gpt2", "neox", "gemma2")


def tokenizer(kind: str, chat_template: str | None = None) -> Any:
    """A fast tokenizer of transformers.

    ``bytes``: byte-level BPE like GPT-2's, whose only special token ends a text. ``bytes-bos``: with a BOS that a
    post-processor adds. ``bytes-newlines``: joins punctuation and the newlines after it, like Llama 3. ``pieces-bos``:
    unigram pieces with a mark for spaces, and a BOS, like Llama 2. ``pieces-eos``: such pieces and an EOS at the end of
    every text, like T5.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bos_too = kind not in ("bytes", "pieces-eos")
    names = {"bos_token": "<|begin|>", "eos_token": "<|end|>"} if bos_too else {"eos_token": "<|end|>"}
    special = [*names.values(), "<unk>"]
    trainer: Any
    if kind.startswith("pieces"):
        built = Tokenizer(models.Unigram())
        built.pre_tokenizer = pre_tokenizers.Metaspace()
        built.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=VOCABULARY, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    else:
        built = Tokenizer(models.BPE())
        pattern = r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        built.pre_tokenizer = (
            pre_tokenizers.Sequence(
                [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
            )
            if kind == "bytes-newlines"
            else pre_tokenizers.ByteLevel(add_prefix_space=False)
        )
        built.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    built.train_from_iterator(CORPUS, trainer)
    if "bos_token" in names:
        bos = names["bos_token"]
        built.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, built.token_to_id(bos))]
        )
    if kind == "pieces-eos":
        built.post_processor = processors.TemplateProcessing(
            single="$A <|end|>", special_tokens=[("<|end|>", built.token_to_id("<|end|>"))]
        )
    made = PreTrainedTokenizerFast(tokenizer_object=built, unk_token="<unk>", **names)
    made.chat_template = chat_template
    return made


def model(architecture: str, *, positions: int = 128, head_dim: int = 12) -> Any:
    """A small model with random weights, spread wide enough that a mistake of one position shows.

    ``head_dim`` is one of a Llama; servers compute attention only for sizes that are usual.
    """
    import torch
    import transformers as tr

    torch.manual_seed(sum(map(ord, architecture)))
    size = {"hidden_size": 48, "intermediate_size": 112, "num_hidden_layers": 2, "num_attention_heads": 4}
    common = {
        "vocab_size": VOCABULARY + 8,
        "initializer_range": 0.2,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": None,
    }
    made: Any
    if architecture in kinds.MAKERS:
        made = kinds.MAKERS[architecture](common, positions)
    elif architecture == "llama":
        llama = tr.LlamaConfig(
            **common, **size, num_key_value_heads=2, head_dim=head_dim, max_position_embeddings=positions
        )
        made = tr.LlamaForCausalLM(llama)
    elif architecture == "gpt2":
        made = tr.GPT2LMHeadModel(tr.GPT2Config(**common, n_embd=48, n_layer=2, n_head=4, n_positions=positions))
    elif architecture == "neox":
        made = tr.GPTNeoXForCausalLM(tr.GPTNeoXConfig(**common, **size, max_position_embeddings=positions))
    else:
        gemma = tr.Gemma2Config(
            **common,
            **size,
            num_key_value_heads=2,
            head_dim=12,
            max_position_embeddings=positions,
            sliding_window=32,
            final_logit_softcapping=5.0,
            attn_logit_softcapping=10.0,
        )
        made = tr.Gemma2ForCausalLM(gemma)
    return made.eval()


def save(folder: Path, architecture: str, kind: str, *, positions: int = 128, chat_template: str | None = None) -> Path:
    """A model and its tokenizer as `save_pretrained` writes them."""
    made = tokenizer(kind, chat_template)
    made.save_pretrained(folder)
    saved = model(architecture, positions=positions)
    saved.config.eos_token_id = saved.generation_config.eos_token_id = made.eos_token_id
    saved.save_pretrained(folder)
    return folder


def save_thinking(folder: Path, texts: list[tuple[str, str]], *, delimiters: tuple[str, str], special: bool) -> Path:
    """A chat model that has learnt by heart what to answer to each prompt, with tokens of its own for reasoning."""
    from tokenizers import AddedToken

    made = tokenizer("bytes", CHAT_TEMPLATE)
    made.add_tokens([AddedToken(text, special=special, normalized=False) for text in delimiters])
    made.save_pretrained(folder)
    examples = [(made.encode(f"<|user|>{question}\n<|assistant|>"), made.encode(answer)) for question, answer in texts]
    taught = teach(model("llama"), [(prompt, [*answer, made.eos_token_id]) for prompt, answer in examples], 120)
    taught.config.eos_token_id = taught.generation_config.eos_token_id = made.eos_token_id
    taught.save_pretrained(folder)
    return folder


def teach(taught: Any, examples: list[tuple[list[int], list[int]]], rounds: int) -> Any:
    """Train a model to continue each of these tokens with those."""
    import torch

    taught.train()
    optimizer = torch.optim.AdamW(taught.parameters(), lr=3e-3)
    for _ in range(rounds):
        for prompt, answer in examples:
            tokens = torch.tensor([[*prompt, *answer]])
            labels = tokens.clone()
            labels[0, : len(prompt)] = -100
            taught(input_ids=tokens, labels=labels).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return taught.eval()
