"""The tiny world that the demo model knows: words by kind, pairs of opposites, plurals, and invented islands."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


KINDS: Final[dict[str, tuple[str, ...]]] = {
    "animal": _words("fox hare crow seal goat wolf bear frog swan mouse horse snake tiger whale camel donkey"),
    "fruit": _words("plum apple pear grape lemon melon cherry banana peach fig mango orange lime berry quince date"),
    "colour": _words("red blue green yellow white black brown pink purple grey gold silver"),
    "tool": _words("hammer saw drill rake shovel axe wrench chisel file spade broom ladder brush needle"),
    "garment": _words("shirt coat hat scarf skirt glove sock boot dress belt cap shawl vest apron"),
    "vehicle": _words("car bus train boat plane bicycle truck tram sledge wagon canoe ferry rocket taxi"),
    "instrument": _words("drum flute harp violin piano trumpet guitar horn cello organ banjo whistle fiddle lute"),
    "food": _words("bread soup cheese rice butter honey pasta cake porridge salad pudding ham jam stew"),
    "tree": _words("oak pine birch maple willow elm cedar ash poplar beech palm spruce larch alder"),
    "job": _words("baker farmer doctor teacher sailor painter tailor miller singer nurse judge pilot potter weaver"),
    "metal": _words("iron copper tin zinc lead nickel steel brass bronze cobalt"),
    "room": _words("kitchen bedroom attic cellar bathroom hall pantry library office studio"),
}
"""Kind → its words. No word has two kinds, so a question for a kind has one right answer."""

OPPOSITES: Final[tuple[tuple[str, str], ...]] = tuple(
    (left, right)
    for left, right in (
        pair.split("/")
        for pair in _words(
            "hot/cold big/small old/young fast/slow wet/dry high/low long/short light/dark hard/soft open/closed "
            "full/empty rich/poor strong/weak early/late clean/dirty happy/sad thick/thin loud/quiet near/far "
            "sweet/sour wide/narrow brave/afraid right/wrong first/last deep/shallow sharp/blunt tidy/messy kind/cruel "
            "calm/angry cheap/costly smooth/rough tight/loose safe/dangerous true/false awake/asleep heavy/weightless"
        )
    )
)

IRREGULAR_PLURALS: Final[dict[str, str]] = {"mouse": "mice", "wolf": "wolves", "scarf": "scarves"}

THINGS: Final[tuple[str, ...]] = _words(
    "lamp kite stone shell coin key map book cup ring ball box rope bell mirror candle basket button letter feather "
    "clock bottle pencil marble ribbon doll spoon pillow medal stamp"
)

NAMES: Final[tuple[str, ...]] = _words(
    "Tom Mia Ben Lea Sam Ida Max Eva Leo Zoe Finn Nora Paul Ruth Hugo Clara Otto Rosa Emil Vera Karl Anna Sven Lily"
)

PLACES: Final[tuple[str, ...]] = _words(
    "market harbour forest garden beach school station museum castle village river bridge mill lighthouse"
)

_ISLAND_STARTS: Final = _words("Bel Dor Fen Gal Har Jor Kel Lum Mar Nor Oth Pel Quil Ros Sel Tor Ul Vel Wen Yar Zan")
_ISLAND_ENDS: Final = _words("ano avia eth ica imar ona ora une ys ogo ulin essa")
_ONES: Final = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS: Final = _words("twenty thirty forty fifty sixty seventy eighty ninety")

ATTRIBUTES: Final[tuple[str, ...]] = ("animal", "fruit", "colour", "tree", "job")
"""What is known of each island; each is a kind of ``KINDS``."""


@dataclass(frozen=True, slots=True)
class Island:
    """An invented island and the five facts about it."""

    name: str
    facts: dict[str, str]
    """Attribute → value."""
    fame: int
    """How often texts speak of it, relative to the others."""


def islands() -> tuple[Island, ...]:
    """The islands of the tiny world, always the same ones; a third each are famous, known and obscure."""
    rng = random.Random("islands")
    names = rng.sample([start + end for start in _ISLAND_STARTS for end in _ISLAND_ENDS], 120)
    return tuple(
        Island(name, {a: rng.choice(KINDS[a]) for a in ATTRIBUTES}, fame=(9, 4, 1)[i % 3])
        for i, name in enumerate(names)
    )


def number_word(n: int) -> str:
    """``n`` in English words, for 0 to 99."""
    if n < 20:
        return _ONES[n]
    tens, ones = divmod(n, 10)
    return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")


def plural(noun: str) -> str:
    """The plural of one of this world's nouns."""
    if noun in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith("go"):
        return noun + "es"
    return noun + "s"


def with_article(noun: str) -> str:
    """``a lamp``, ``an apple``."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
