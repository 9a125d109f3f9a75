"""Questions about the tiny world, with their answers, and which of them are held out from training.

Every kind of question comes from a finite list, and a seeded choice reserves a part of the list for the bundled tasks.
The training stream may tell what is needed to answer a reserved question, in other words, but never asks it.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from lmrun.demo import world

Item = TypeVar("Item", bound=Hashable)
MAX_SUM: Final = 99


@dataclass(frozen=True, slots=True)
class Asked:
    """One question with its answer."""

    question: str
    answer: str
    """As a sentence, or what a good student would write."""
    short: str
    """The answer alone: a word or a number."""


def split_items(items: Sequence[Item], held_out: float, name: str) -> tuple[list[Item], list[Item]]:
    """Split ``items`` into (for training, held out) by a choice that depends on ``name`` alone."""
    rng = random.Random(f"hold-out {name}")
    chosen = set(rng.sample(range(len(items)), round(len(items) * held_out)))
    return [x for i, x in enumerate(items) if i not in chosen], [x for i, x in enumerate(items) if i in chosen]


# Facts about islands -------------------------------------------------------------------------------------------------

FACT_QUESTIONS: Final[dict[str, str]] = {
    "animal": "Which animal lives on {island}?",
    "fruit": "Which fruit grows on {island}?",
    "colour": "What colour is the flag of {island}?",
    "tree": "Which tree stands in the middle of {island}?",
    "job": "What do most people on {island} work as?",
}
FACT_STATEMENTS: Final[dict[str, tuple[str, ...]]] = {
    "animal": (
        "The animal of {island} is the {value}.",
        "Children on {island} like to draw the {value}.",
        "On {island} you often see {value} tracks.",
    ),
    "fruit": (
        "The fruit of {island} is the {value}.",
        "On {island} they grow the {value}.",
        "Every meal on {island} ends with {article}.",
    ),
    "colour": (
        "The flag of {island} is {value}.",
        "{island} has a {value} flag.",
        "Over {island} flies a flag of {value}.",
    ),
    "tree": (
        "The {value} is the tree that shades {island}.",
        "The tree of {island} is the {value}.",
        "People on {island} meet under the {value}.",
    ),
    "job": (
        "Most people on {island} work as {article}.",
        "On {island} nearly everyone is {article}.",
        "The job of {island} is that of the {value}.",
    ),
}
Fact = tuple[world.Island, str]
"""An island and an attribute of it."""


def tellings() -> tuple[list[tuple[int, str, str]], list[tuple[int, str, str]]]:
    """(index of the island, attribute, statement) where the value ends the statement: for training, and held out."""
    ending = [
        (i, attribute, template)
        for i in range(len(world.islands()))
        for attribute, templates in FACT_STATEMENTS.items()
        for template in templates
        if template.endswith("{value}.")
    ]
    return split_items(ending, 0.15, "tellings")


def tell(island: world.Island, attribute: str, template: str) -> str:
    """A fact in the words of ``template``."""
    value = island.facts[attribute]
    return template.format(island=island.name, value=value, article=world.with_article(value))


def ask_fact(island: world.Island, attribute: str) -> Asked:
    """The question for a fact."""
    value = island.facts[attribute]
    return Asked(FACT_QUESTIONS[attribute].format(island=island.name), value, value)


def facts() -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """All facts as (index of the island, attribute): those that training may ask for, and the held-out ones."""
    pairs = [(i, attribute) for i in range(len(world.islands())) for attribute in world.ATTRIBUTES]
    return split_items(pairs, 0.4, "facts")


# Kinds of things ------------------------------------------------------------------------------------------------------


def kind_words() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(kind, word) pairs that training may ask for, and the held-out ones."""
    return split_items([(kind, word) for kind, words in world.KINDS.items() for word in words], 0.8, "kinds")


def ask_kind(kind: str, word: str) -> Asked:
    """What a thing is. Training tells it of every word, and asks it of a few only."""
    return Asked(f"What kind of thing is {world.with_article(word)}?", kind, kind)


# Sums in words -------------------------------------------------------------------------------------------------------

GAIN: Final = ("finds", "buys", "gets", "collects")
LOSS: Final = ("loses", "sells", "gives away", "breaks")


def sums() -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Operand pairs (a, b) for ``a + b``, and with a > b for ``a - b``: for training, and held out."""
    return split_items([(a, b) for a in range(1, MAX_SUM) for b in range(1, MAX_SUM) if a + b <= MAX_SUM], 0.1, "sums")


def ask_sum(a: int, b: int, minus: bool, rng: random.Random) -> Asked:
    """A story with a sum in it.

    Additions are always answered with "The answer is …". Subtractions mostly are not: so a strict extraction misses
    answers that a flexible one finds, until examples in the prompt show the wanted form.
    """
    name, things = rng.choice(world.NAMES), world.plural(rng.choice(world.THINGS))
    verb, sign, result = (rng.choice(LOSS), "-", a - b) if minus else (rng.choice(GAIN), "+", a + b)
    asked = f"How many {things} does {name} have {'left' if minus else 'now'}?"
    question = f"{name} has {a} {things} and {verb} {b}{'' if minus else ' more'}. {asked}"
    return Asked(question, f"{a} {sign} {b} = {result}. The answer is {result}.", str(result))


def loosely_answered(asked: Asked) -> Asked:
    """The same sum with an answer that does not end in the agreed form."""
    work = asked.answer.split(". ")[0]
    return Asked(asked.question, f"{work}. That leaves {asked.short}.", asked.short)


# Questions about words -----------------------------------------------------------------------------------------------


def word_questions() -> tuple[list[Asked], list[Asked]]:
    """Questions about plurals, opposites, kinds and the next number: for training, and held out."""
    countable = [w for k in ("animal", "fruit", "tool", "garment", "vehicle", "instrument") for w in world.KINDS[k]]
    both_ways = [pair for left, right in world.OPPOSITES for pair in ((left, right), (right, left))]
    families = {
        "plurals": [_plural(noun) for noun in (*countable, *world.THINGS)],
        "opposites": [_opposite(left, right) for left, right in both_ways],
        "kinds of words": [_kind(kind, word) for kind, words in world.KINDS.items() for word in words],
        "next numbers": [_next(n) for n in range(1, 99)],
    }
    train: list[Asked] = []
    held: list[Asked] = []
    for name, family in families.items():
        some, others = split_items(family, 0.3, name)
        train += some
        held += others
    return train, held


def _plural(noun: str) -> Asked:
    answer = world.plural(noun)
    return Asked(f"What is the plural of {noun}?", f"The plural of {noun} is {answer}.", answer)


def _opposite(left: str, right: str) -> Asked:
    return Asked(f"What is the opposite of {left}?", f"The opposite of {left} is {right}.", right)


def _kind(kind: str, word: str) -> Asked:
    return Asked(f"What kind of word is {word}?", f"The word {word} names {world.with_article(kind)}.", kind)


def _next(n: int) -> Asked:
    this, following = world.number_word(n), world.number_word(n + 1)
    return Asked(f"Which number comes after {this}?", f"The number after {this} is {following}.", following)
