"""Short stories whose last word can be told from what came before."""

from __future__ import annotations

import random

from lmrun.demo import world

_OPENINGS = (
    "One {weather} day {a}, {b} and {c} went to the {place}.",
    "It was a {weather} morning when {a} met {b} and {c} at the {place}.",
    "{a}, {b} and {c} had a day off and walked to the {place}.",
)
_BELONGINGS = ("{name} had {thing} along.", "{name} carried {thing}.", "{name} found {thing}.", "{name} held {thing}.")
_SIGHTS = (
    "Beside the {tree} they saw {animal}.",
    "A {colour} {vehicle} passed, and {animal} ran away from it.",
    "Somebody played the {instrument}, and {animal} came to listen.",
    "They ate some {food} and gave a little to {animal}.",
)
_GIFTS = ("{a} gave the {thing} to {b}.", "{b} asked for the {thing}, and {a} let {b} have it.")
_ENDINGS_THING = (
    "In the evening {name} went home with the",
    "When it got dark, {name} put away the",
    "Nobody knew why {name} liked the",
)
_ENDINGS_ANIMAL = ("On the way home they all talked about the", "That night {a} dreamt of the")
_ENDINGS_PLACE = ("They promised to come back to the", "It had been a good day at the")
_WEATHER = ("sunny", "cold", "windy", "rainy", "quiet", "cloudy")


def story(rng: random.Random) -> str:
    """Four to six sentences about three people; the last word is one that the story named before."""
    a, b, c = people = rng.sample(world.NAMES, 3)
    things = dict(zip(people, rng.sample(world.THINGS, 3), strict=True))
    place, animal = rng.choice(world.PLACES), rng.choice(world.KINDS["animal"])
    sentences = [rng.choice(_OPENINGS).format(a=a, b=b, c=c, place=place, weather=rng.choice(_WEATHER))]
    told = rng.sample(people, 3)
    sentences += [rng.choice(_BELONGINGS).format(name=name, thing=world.with_article(things[name])) for name in told]
    some = {k: rng.choice(world.KINDS[k]) for k in ("tree", "colour", "vehicle", "instrument", "food")}
    sentences.append(rng.choice(_SIGHTS).format(animal=world.with_article(animal), **some))
    owners = dict(things)
    if rng.random() < 0.4:
        giver, taker = rng.sample(people, 2)
        sentences.append(rng.choice(_GIFTS).format(a=giver, b=taker, thing=things[giver]))
        owners = {name: thing for name, thing in things.items() if name not in (giver, taker)}
        owners[taker] = things[giver]
    sentences.append(_ending(a, owners, place, animal, rng))
    return " ".join(sentences) + "."


def _ending(a: str, owners: dict[str, str], place: str, animal: str, rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.7:
        name = rng.choice(list(owners))
        return f"{rng.choice(_ENDINGS_THING).format(name=name)} {owners[name]}"
    if draw < 0.85:
        return f"{rng.choice(_ENDINGS_ANIMAL).format(a=a)} {animal}"
    return f"{rng.choice(_ENDINGS_PLACE)} {place}"
