"""A chat model that is small enough to be made in the test run and has what a real server asks for."""

from __future__ import annotations

from pathlib import Path

from tests.backends import make

POSITIONS = 512
THINK, THOUGHT = "<think>", "</think>"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if not loop.last %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n<|assistant|>' }}{% endif %}"
)
"""As Llama's: the template writes the BOS, and a tokenizer that adds one of its own must not do so here."""
RIDDLES = {
    "the cat?": "the cat sat on a mat. yes",
    "the dog?": "the dog sat by the door. no",
    "the rain?": "rain fell over every door. maybe",
}
"""Questions to which the model answers with reasoning and a last word."""


def save(folder: Path) -> Path:
    """A Llama that has read a little, so that what it writes is text, and its tokenizer."""
    from tokenizers import AddedToken

    tokenizer = make.tokenizer("bytes-bos", TEMPLATE)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in (THINK, THOUGHT)])
    tokenizer.save_pretrained(folder)
    end = tokenizer.eos_token_id
    begin = tokenizer.encode("")
    read = [(begin, [*tokenizer.encode(text, add_special_tokens=False), end]) for text in make.CORPUS[::4]]
    asked = []
    for question, answer in RIDDLES.items():
        thought, word = answer.rsplit(" ", 1)
        prompt = tokenizer.encode(f"<|user|>{question}\n<|assistant|>")
        reply = f"{THINK}\n{thought}\n{THOUGHT}\n\n{word}"
        asked.append((prompt, [*tokenizer.encode(reply, add_special_tokens=False), end]))
    model = make.model("llama", positions=POSITIONS, head_dim=32)
    taught = make.teach(model, [*read, *asked * 4], 12)
    taught.config.eos_token_id = taught.generation_config.eos_token_id = end
    taught.save_pretrained(folder)
    return folder
