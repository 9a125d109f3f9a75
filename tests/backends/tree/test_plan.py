"""Tries and packs of made-up rows: every token once, and each sees what it would see alone."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from lmrun.backends.hf.plan import Member, Row, merge_rows
from lmrun.backends.hf.tree.boxes import Division
from lmrun.backends.hf.tree.pack import Pack, needed, packs
from lmrun.backends.hf.tree.plan import Tree
from lmrun.backends.hf.tree.trie import build, walk

# Few different tokens and rows made of other rows, so that much is shared.
_tokens = st.lists(st.integers(0, 2), min_size=1, max_size=12)
_rows = st.lists(st.tuples(st.lists(_tokens, min_size=1, max_size=3), st.integers(1, 4)), min_size=1, max_size=12)


def rows_of(drawn: list[tuple[list[list[int]], int]]) -> list[Row]:
    rows = []
    for i, (parts, scored) in enumerate(drawn):
        inputs = [token for part in parts for token in part]
        n = min(scored, len(inputs))
        continuation = array("i", [*inputs[len(inputs) - n + 1 :], i % 3])
        rows.append(Row(array("i", inputs), (Member(i, 0, continuation),)))
    return merge_rows(rows)


def prefixes(rows: list[Row]) -> set[tuple[int, ...]]:
    return {tuple(row.inputs[:n]) for row in rows for n in range(1, len(row.inputs) + 1)}


@given(_rows)
def test_a_trie_holds_each_prefix_once(drawn: list[tuple[list[list[int]], int]]) -> None:
    rows = rows_of(drawn)
    found = []
    for node in walk(build([row.inputs for row in rows], range(len(rows)))):
        found += [tuple(rows[node.row].inputs[:n]) for n in range(node.start + 1, node.end + 1)]
    assert len(found) == len(set(found))
    assert set(found) == prefixes(rows)


@given(_rows, st.permutations(range(12)))
def test_a_walk_meets_rows_in_the_order_of_their_ranks_where_it_can(
    drawn: list[tuple[list[list[int]], int]], ranks: list[int]
) -> None:
    rows = rows_of(drawn)
    root = build([row.inputs for row in rows], ranks)
    for node in [root, *walk(root)]:
        assert [child.rank for child in node.children] == sorted(child.rank for child in node.children)


class Replay:
    """Carries packs out with prefixes in place of keys: what each token sees must be its prefix."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.path: dict[int, tuple[int, ...]] = {}
        self.done: list[tuple[int, ...]] = []

    def run(self, pack: Pack) -> None:
        own = [tuple(self.rows[p.node.row].inputs[: d + 1]) for p in pack.pieces for d in range(p.start, p.end)]
        assert [prefix[-1] for prefix in own] == list(pack.tokens([row.inputs for row in self.rows]))
        assert [len(prefix) - 1 for prefix in own] == pack.depths()
        seen: list[list[tuple[int, ...]]] = [[] for _ in own]
        for piece in pack.pieces:
            for place in range(piece.at, piece.stop):
                seen[place] += own[piece.at : place + 1]
        for block in pack.blocks:
            keys = [self.path[k] if block.on_path else own[k] for k in block.keys]
            assert len(keys[0]) - 1 == block.depth
            for place in block.queries:
                seen[place] += keys
        for prefix, keys in zip(own, seen, strict=True):
            assert sorted(keys, key=len) == [prefix[:n] for n in range(1, len(prefix) + 1)]
        for kept in pack.kept:
            for i, place in enumerate(kept.places):
                self.path[kept.depth + i] = own[place]
        self.done += own


@given(_rows, st.integers(1, 20))
def test_every_token_of_a_pack_sees_its_own_prefix(drawn: list[tuple[list[list[int]], int]], size: int) -> None:
    rows = rows_of(drawn)
    replay = Replay(rows)
    for pack in packs(build([row.inputs for row in rows], range(len(rows))), size):
        assert pack.size <= size
        replay.run(pack)
    assert len(replay.done) == len(set(replay.done))
    assert set(replay.done) == prefixes(rows)


@given(_rows, st.integers(2, 20), st.integers(1, 7))
def test_a_pack_in_parts_computes_the_same(drawn: list[tuple[list[list[int]], int]], size: int, part: int) -> None:
    rows = rows_of(drawn)
    replay = Replay(rows)
    for i, pack in enumerate(packs(build([row.inputs for row in rows], range(len(rows))), size)):
        for piece in pack.split(part) if i % 2 else [pack]:
            replay.run(piece)
    assert set(replay.done) == prefixes(rows)


@given(_rows, st.integers(1, 20), st.data())
def test_packs_that_are_needed_find_all_of_their_path(
    drawn: list[tuple[list[list[int]], int]], size: int, data: st.DataObject
) -> None:
    rows = rows_of(drawn)
    plan = list(packs(build([row.inputs for row in rows], range(len(rows))), size))
    wanted = data.draw(st.sets(st.sampled_from([pack.number for pack in plan])))
    replay = Replay(rows)
    for pack in plan:
        if pack.number in needed(plan, wanted):
            replay.run(pack)


@given(_rows, st.integers(1, 20))
def test_every_scored_token_is_read_once_after_its_prefix(drawn: list[tuple[list[list[int]], int]], size: int) -> None:
    rows = rows_of(drawn)
    tree = Tree.of(rows, size)
    read: dict[tuple[int, int], list[tuple[tuple[int, ...], int]]] = {}
    for pack in tree.plan:
        own = [tuple(rows[p.node.row].inputs[: d + 1]) for p in pack.pieces for d in range(p.start, p.end)]
        for found in tree.reads(pack):
            pairs = zip((own[place] for place in found.places), found.tokens, strict=True)
            read.setdefault((found.row, found.member), []).extend(pairs)
    for i, row in enumerate(rows):
        for j, member in enumerate(row.members):
            whole = [*row.inputs, member.continuation[-1]]
            start = len(whole) - len(member.continuation)
            assert read.pop((i, j)) == [(tuple(whole[:n]), whole[n]) for n in range(start, len(whole))]
    assert not read


@given(_rows, st.integers(1, 40))
def test_boxes_cover_what_blocks_say(drawn: list[tuple[list[list[int]], int]], size: int) -> None:
    rows = rows_of(drawn)
    for pack in packs(build([row.inputs for row in rows], range(len(rows))), size):
        division = Division.of(pack)
        assert all(block.on_path for block in division.blocks)  # nothing here is too large for a box
        below = {block.keys.start: block.queries for block in pack.blocks if not block.on_path}
        seen: dict[int, set[int]] = {}
        for group in division.groups:
            for places, visible in zip(group.places.tolist(), group.visible, strict=True):
                for place, keys in zip(places, visible, strict=True):
                    seen.setdefault(place, {places[k] for k in keys.nonzero()[:, 0].tolist()})
        for piece in pack.pieces:
            for place in range(piece.at, piece.stop):
                above = [p for p in pack.pieces if place in below.get(p.at, ())]
                keys = {k for p in above for k in range(p.at, p.stop)} | set(range(piece.at, place + 1))
                assert seen[place] == keys
