"""The request cache gives back what was put, never an error, and survives several processes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.errors import StoreError
from lmrun.requests import Message, Request, Response, content_key
from lmrun.store.cache import Cache
from lmrun.store.rows import response_text, response_value


def put(cache: Cache, fingerprint: str, answers: dict[str, Response]) -> None:
    cache.put(fingerprint, [(key, "generate_until", response_text(response)) for key, response in answers.items()])


def get(cache: Cache, keys: list[str]) -> dict[str, Response]:
    return {key: response_value(text) for key, text in cache.get(keys)}


def test_put_then_get_gives_the_same_response(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.db")
    response = Response(
        text="ja \ud83d\x00 \x1b[31m", finish_reason="length", completion_tokens=3, notes={"join": "split"}
    )
    put(cache, "model-a", {"k1": response})
    assert get(cache, ["k1", "k2"]) == {"k1": response}


@pytest.mark.parametrize("logprob", [float("-inf"), -1e-320, -3.25])
def test_every_logprob_is_kept_to_the_last_bit(tmp_path: Path, logprob: float) -> None:
    cache = Cache(tmp_path / "cache.db")
    put(cache, "m", {"k": Response(logprob=logprob)})
    assert get(cache, ["k"]) == {"k": Response(logprob=logprob)}


def test_bulk_lookup_of_many_keys(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.db")
    put(cache, "m", {f"k{i}": Response(logprob=-float(i), is_greedy=False) for i in range(5_000)})
    found = get(cache, [f"k{i}" for i in range(0, 10_000, 2)])
    assert len(found) == 2_500
    assert found["k4998"].logprob == -4998.0


def test_prune_by_model_and_age(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.db")
    for name in ("a", "b"):
        cache.remember_model(f"fp-{name}", name, {})
        put(cache, f"fp-{name}", {f"{name}{i}": Response(text="x") for i in range(3)})
    assert cache.prune(older_than=0) == 0
    assert cache.prune(model="a") == 3
    assert [(row.model, row.responses) for row in cache.stats()] == [("b", 3)]
    assert cache.verify() == []


def test_verify_names_a_damaged_entry(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    cache = Cache(path)
    put(cache, "m", {"good": Response(text="x"), "bad": Response(text="y")})
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE responses SET response = '{' WHERE key = 'bad'")
    assert [problem.split(":")[0] for problem in cache.verify()] == ["bad"]


def test_not_a_database_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    path.write_text("hello, this is not a database, it is a text file of some length")
    with pytest.raises(StoreError, match=r"cache\.db: cannot be used as a database"):
        Cache(path)


WRITER = """
import sys
from pathlib import Path
from lmrun.requests import Response
from lmrun.store.cache import Cache
from lmrun.store.rows import response_text
cache = Cache(Path(sys.argv[1]))
for i in range(200):
    cache.put("m", [(f"{sys.argv[2]}-{i}", "generate_until", response_text(Response(text="x" * 100)))])
    list(cache.get([f"0-{i}", f"1-{i}"]))
"""


def test_several_processes_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    workers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(n)]) for n in range(3)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0, 0]
    cache = Cache(path)
    assert sum(row.responses for row in cache.stats()) == 600
    assert cache.verify() == []


REQUEST = Request(kind="generate_until", context="Q", generation={"until": ["\n"], "max_gen_toks": 8})
CHANGED = [
    Request(kind="loglikelihood", context="Q", generation=REQUEST.generation),
    Request(kind="generate_until", context="Q ", generation=REQUEST.generation),
    Request(kind="generate_until", context=(Message("user", "Q"),), generation=REQUEST.generation),
    Request(kind="generate_until", context="Q", continuation="A", generation=REQUEST.generation),
    Request(kind="generate_until", context="Q", generation={"until": ["\n"], "max_gen_toks": 9}),
    Request(kind="generate_until", context="Q", generation=REQUEST.generation, sample_index=1),
    Request(kind="generate_until", context="Q", generation=REQUEST.generation, seed=1),
]


def test_key_changes_with_everything_that_can_change_an_answer() -> None:
    keys = {content_key("fp", request) for request in [REQUEST, *CHANGED]} | {content_key("other", REQUEST)}
    assert len(keys) == len(CHANGED) + 2


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.lists(st.text())), max_size=5), st.randoms())
def test_key_does_not_depend_on_the_order_of_parameters(generation: dict[str, object], random: object) -> None:
    items = list(generation.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    one = Request(kind="generate_until", context="Q", generation=generation)
    other = Request(kind="generate_until", context="Q", generation=dict(items))
    assert content_key("fp", one) == content_key("fp", other)


_TEXTS = st.text(max_size=3)
_CONTEXTS = _TEXTS | st.lists(st.builds(Message, st.sampled_from(["user", "system"]), _TEXTS), max_size=2).map(tuple)
_PARAMETERS = st.dictionaries(
    st.sampled_from(["until", "temperature", "max_gen_toks", "top_p"]),
    st.integers(0, 2) | st.sampled_from([0.5, True, None, "0"]) | st.lists(_TEXTS, max_size=2),
    max_size=2,
)
_REQUESTS = st.builds(
    Request,
    kind=st.sampled_from(["generate_until", "loglikelihood", "loglikelihood_rolling"]),
    context=_CONTEXTS,
    continuation=_TEXTS,
    generation=_PARAMETERS,
    sample_index=st.integers(0, 2),
    seed=st.none() | st.integers(0, 2),
)


def _said(fingerprint: str, request: Request) -> str:
    """All that can change an answer, told apart by type too (1, 1.0 and True are three values)."""
    rest = (request.kind, request.context, request.continuation, request.sample_index, request.seed)
    return repr((fingerprint, rest, sorted(request.generation.items())))


@given(_REQUESTS, _REQUESTS, st.sets(st.sampled_from([f.name for f in fields(Request)])), st.sampled_from("ab"))
def test_keys_are_equal_exactly_where_model_and_request_are(
    one: Request, other: Request, taken: set[str], fingerprint: str
) -> None:
    # Two random requests differ in almost everything, so some parts of the other are taken from the first.
    other = replace(other, **{name: getattr(one, name) for name in taken})
    alike = _said("a", one) == _said(fingerprint, other)
    assert (content_key("a", one) == content_key(fingerprint, other)) == alike


@given(st.text(), st.text(), st.text(), st.text())
def test_context_and_continuation_do_not_run_together(a: str, b: str, c: str, d: str) -> None:
    one = content_key("fp", Request(kind="loglikelihood", context=a, continuation=b))
    other = content_key("fp", Request(kind="loglikelihood", context=c, continuation=d))
    assert (one == other) == ((a, b) == (c, d))
