"""Texts of the tiny world: what the demo model is trained on, and the held-out docs of the demo tasks.

``python -m lmrun.demo.corpus --out tasks/demo/data`` writes the docs. Both are made from seeds alone, so anyone
gets the same ones; nothing comes from outside this package.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from lmrun.demo import questions, world
from lmrun.demo.questions import Asked
from lmrun.demo.stories import story
from lmrun.requests import Message

Chat: TypeAlias = tuple[Message, ...]
Document: TypeAlias = str | Chat
Docs: TypeAlias = list[dict[str, Any]]

TRAINING_SEED: Final = 1
TRAINING_DOCUMENTS: Final = 100_000
ONE_WORD: Final = "Answer with one word."
LOOSE_SUBTRACTIONS: Final = 0.7
"""Share of subtractions that training answers in another form than "The answer is …"."""


class TrainingStream:
    """The training texts, one after another; the same ones for the same seed."""

    def __init__(self, seed: int = TRAINING_SEED) -> None:
        self._rng = random.Random(seed)
        self._islands = world.islands()
        self._fame = [island.fame for island in self._islands]
        self._facts: dict[int, list[str]] = {}
        for index, attribute in questions.facts()[0]:
            self._facts.setdefault(index, []).append(attribute)
        self._kinds = questions.kind_words()[0]
        self._held_tellings = frozenset(questions.tellings()[1])
        self._sums = questions.sums()[0]
        self._words = questions.word_questions()[0]
        self._writers: dict[Callable[[], Document], int] = {
            self._about_islands: 15,
            self._fact_block: 6,
            self._kind_block: 6,
            self._sum_block: 36,
            self._plain_sums: 16,
            self._word_block: 5,
            self._word_lore: 9,
            self._story: 14,
            self._chat: 15,
        }

    def documents(self, count: int = TRAINING_DOCUMENTS) -> Iterator[Document]:
        """The next ``count`` documents."""
        writers, weights = list(self._writers), list(self._writers.values())
        for _ in range(count):
            yield self._rng.choices(writers, weights)[0]()

    def _island(self) -> int:
        return self._rng.choices(range(len(self._islands)), self._fame)[0]

    def _about_islands(self) -> str:
        sentences: list[str] = []
        for _ in range(self._rng.randint(1, 3)):
            index = self._island()
            attributes = self._rng.sample(world.ATTRIBUTES, self._rng.randint(2, len(world.ATTRIBUTES)))
            sentences += [self._fact(index, attribute) for attribute in attributes]
        return " ".join(sentences)

    def _fact(self, index: int, attribute: str) -> str:
        known = [t for t in questions.FACT_STATEMENTS[attribute] if (index, attribute, t) not in self._held_tellings]
        return questions.tell(self._islands[index], attribute, self._rng.choice(known))

    def _some_fact(self) -> Asked:
        index = self._island()
        while index not in self._facts:
            index = self._island()
        return questions.ask_fact(self._islands[index], self._rng.choice(self._facts[index]))

    def _some_sum(self, form: str | None = None) -> Asked:
        a, b = self._rng.choice(self._sums)
        minus = a > b and self._rng.random() < 0.5
        asked = questions.ask_sum(a, b, minus, self._rng)
        loose = minus and self._rng.random() < LOOSE_SUBTRACTIONS if form is None else form == "loose"
        return questions.loosely_answered(asked) if loose and minus else asked

    def _some_kind(self) -> Asked:
        kind, word = self._rng.choice(self._kinds)
        return questions.ask_kind(kind, word)

    def _fact_block(self) -> str:
        return block([self._some_fact() for _ in range(self._rng.randint(1, 6))])

    def _kind_block(self) -> str:
        return block([self._some_kind() for _ in range(self._rng.randint(1, 4))])

    def _sum_block(self) -> str:
        count = self._rng.randint(1, 4)
        if count == 1:
            return block([self._some_sum()])
        # Within a block the form of the answers stays the same, so that examples in a prompt are worth following.
        form = self._rng.choice(("strict", "loose"))
        return block([self._some_sum(form) for _ in range(count)])

    def _plain_sums(self) -> str:
        pairs = [self._rng.choice(self._sums) for _ in range(self._rng.randint(3, 8))]
        return "\n".join(
            f"{a} - {b} = {a - b}" if a > b and self._rng.random() < 0.5 else f"{a} + {b} = {a + b}" for a, b in pairs
        )

    def _word_block(self) -> str:
        return block([self._rng.choice(self._words) for _ in range(self._rng.randint(1, 4))])

    def _word_lore(self) -> str:
        return " ".join(word_lore(self._rng) for _ in range(self._rng.randint(2, 5)))

    def _story(self) -> str:
        return story(self._rng)

    def _chat(self) -> Chat:
        rng = self._rng
        short = rng.random() < 0.3
        turns = [Message("system", ONE_WORD)] if short else []
        for _ in range(rng.randint(1, 4)):
            asked = rng.choices((rng.choice(self._words), self._some_fact(), self._some_sum("strict")), (7, 2, 1))[0]
            turns += [Message("user", asked.question), Message("assistant", asked.short if short else asked.answer)]
        return tuple(turns)


def block(items: Sequence[Asked]) -> str:
    """Questions and answers in the form that the demo tasks use, as a few-shot prompt has them."""
    return "\n\n".join(f"Question: {item.question}\nAnswer: {item.answer}" for item in items)


def word_lore(rng: random.Random) -> str:
    """A sentence that tells what the questions about words ask for, in other words."""
    kind = rng.choice(list(world.KINDS))
    word = rng.choice(world.KINDS[kind])
    thing = rng.choice([*world.THINGS, *(w for k in ("animal", "fruit", "tool", "garment") for w in world.KINDS[k])])
    left, right = rng.choice(world.OPPOSITES)
    start = rng.randint(1, 94)
    counted = ", ".join(world.number_word(n) for n in range(start, start + 5))
    return rng.choice(
        (
            f"Every {word} is {world.with_article(kind)}.",
            f"If you want {world.with_article(kind)}, take the {word}.",
            f"There was one {thing}, then there were {world.number_word(rng.randint(2, 20))} {world.plural(thing)}.",
            f"It was not {left} but {right}.",
            f"Some are {right}, others are {left}.",
            f"They counted {counted}.",
        )
    )


def task_docs() -> dict[str, Docs]:
    """The docs of the demo tasks: name of the file → rows. Rows of ``*_train`` are few-shot examples."""
    return {
        "facts_test": _facts(questions.facts()[1], 150),
        "facts_train": _facts(questions.facts()[0], 60),
        "kinds_test": _kinds(questions.kind_words()[1], 120),
        "kinds_train": _kinds(questions.kind_words()[0], 24),
        "arithmetic_test": _arithmetic(questions.sums()[1], 150, "test"),
        "arithmetic_train": _arithmetic(questions.sums()[0], 40, "train"),
        "chat_test": _chat(questions.word_questions()[1], 110),
        "chat_train": _chat(questions.word_questions()[0], 40),
        "text_test": [{"text": text} for text in _stories("text", 100)],
        "lastword_test": _last_words(questions.tellings()[1], 120),
    }


def _pick(items: Sequence[questions.Item], count: int, name: str) -> list[questions.Item]:
    return random.Random(f"pick {name}").sample(items, count)


def _facts(pairs: list[tuple[int, str]], count: int) -> Docs:
    rng = random.Random("options of facts")
    rows: Docs = []
    for index, attribute in _pick(pairs, count, "facts"):
        island = world.islands()[index]
        asked = questions.ask_fact(island, attribute)
        choices = [asked.short, *rng.sample([v for v in world.KINDS[attribute] if v != asked.short], 3)]
        rng.shuffle(choices)
        rows.append({"question": asked.question, "choices": choices, "answer": choices.index(asked.short)})
    return rows


def _kinds(pairs: list[tuple[str, str]], count: int) -> Docs:
    rng = random.Random("options of kinds")
    rows: Docs = []
    for kind, word in _pick(pairs, count, "kinds"):
        asked = questions.ask_kind(kind, word)
        choices = [kind, *rng.sample([other for other in world.KINDS if other != kind], 3)]
        rng.shuffle(choices)
        rows.append({"question": asked.question, "choices": choices, "answer": choices.index(kind)})
    return rows


def _last_words(held: list[tuple[int, str, str]], count: int) -> Docs:
    rows: Docs = []
    for index, attribute, template in _pick(held, count, "tellings"):
        text = questions.tell(world.islands()[index], attribute, template).removesuffix(".")
        prompt, _, word = text.rpartition(" ")
        rows.append({"prompt": prompt, "word": word})
    return rows


def _arithmetic(pairs: list[tuple[int, int]], count: int, split: str) -> Docs:
    rng = random.Random(f"arithmetic {split}")
    rows: Docs = []
    for a, b in _pick(pairs, count, "sums"):
        asked = questions.ask_sum(a, b, a > b and rng.random() < 0.5, rng)
        rows.append({"question": asked.question, "solution": asked.answer})
    return rows


def _chat(items: list[Asked], count: int) -> Docs:
    return [{"question": x.question, "sentence": x.answer, "word": x.short} for x in _pick(items, count, "words")]


def _stories(name: str, count: int) -> list[str]:
    rng = random.Random(f"stories for {name}")
    return [story(rng) for _ in range(count)]


def write_task_docs(out: Path) -> None:
    """Write every file of :func:`task_docs` into the folder ``out``, one JSON object per line."""
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in task_docs().items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(
        prog="python -m lmrun.demo.corpus", description="Write the docs of the demo tasks."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the .jsonl files")
    write_task_docs(parser.parse_args(argv).out)


if __name__ == "__main__":
    main()
