"""The scripted server as a process of its own, which also says when each request came and went."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from aiohttp import web

from lmrun.testing.counters import Counters
from lmrun.testing.script import Fault, Limits, Script
from lmrun.testing.server import ScriptedServer
from lmrun.testing.serving import Reply

ROOT = Path(__file__).resolve().parents[2]


class Clock(Counters):
    """Counts, with the time at which every request came and went."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []
        self.answers: list[float] = []
        self.good: Counter[bytes] = Counter()
        super().__init__(keep=0)

    @contextmanager
    def flight(self) -> Iterator[None]:
        came = time.time()
        with super().flight():
            try:
                yield
            finally:
                self.times.append((came, time.time()))

    def reset(self) -> None:
        super().reset()
        self.times, self.answers, self.good = [], [], Counter()

    def as_json(self) -> dict[str, Any]:
        repeated = sum(self.good.values()) - len(self.good)
        return {**super().as_json(), "times": sorted(self.times), "answers": self.answers, "repeated": repeated}


class TimedServer(ScriptedServer):
    """Knows when and how often it has given its answers."""

    def __init__(self, script: Script) -> None:
        super().__init__(script, keep=0)
        self.counters: Clock = Clock()

    async def reply(self, request: web.BaseRequest, body: bytes, kinds: frozenset[str]) -> Reply:
        answer = await super().reply(request, body, kinds)
        if request.method == "POST" and answer.status == 200 and not kinds:
            self.counters.answers.append(time.time())
            self.counters.good[blake2b(body, digest_size=16).digest()] += 1
        return answer


def serve() -> None:
    """Serve the script in the first argument until stdin is closed; the first line of stdout is the address."""
    values = json.loads(sys.argv[1])
    values["faults"] = [Fault(**fault) for fault in values["faults"]]
    values["limits"] = Limits(**values["limits"])
    with TimedServer(Script(**values)) as server:
        print(server.url, flush=True)
        sys.stdin.read()


@dataclass(frozen=True)
class Stats:
    """What the server has seen."""

    counts: Mapping[str, Any]
    times: list[tuple[float, float]]
    """When each request came and when its answer went, by the time it came."""
    answers: list[float]
    """When each right answer was given."""
    repeated: int
    """Right answers that were given before."""

    @property
    def requests(self) -> int:
        return len(self.times)

    @property
    def first(self) -> float:
        """When the first request came."""
        return self.times[0][0] if self.times else float("nan")

    @property
    def rate(self) -> float:
        """Answers per second, from the first request to the last answer."""
        return len(self.times) / (max(gone for _, gone in self.times) - self.first) if self.times else 0.0

    @property
    def steady_rate(self) -> float:
        """Answers per second between the first tenth and the last tenth of the answers."""
        ends = sorted(gone for _, gone in self.times)
        low, high = len(ends) // 10, len(ends) * 9 // 10
        return (high - low) / (ends[high] - ends[low]) if high > low and ends[high] > ends[low] else 0.0


@dataclass(frozen=True)
class Handle:
    """A server that runs."""

    url: str

    def stats(self) -> Stats:
        counts = json.loads(self._get("/stats"))
        times = [(came, gone) for came, gone in counts.pop("times")]
        return Stats(counts, times, counts.pop("answers"), counts.pop("repeated"))

    def reset(self) -> None:
        self._get("/reset")

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=60) as reply:
            data: bytes = reply.read()
        return data


@contextmanager
def serving(script: Script) -> Iterator[Handle]:
    """A server that does what the script says, while the block runs."""
    command = [sys.executable, "-c", "from apibench.server import serve; serve()", json.dumps(asdict(script))]
    with subprocess.Popen(
        command, cwd=ROOT / "benchmarks", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        try:
            yield Handle(process.stdout.readline().strip())
        finally:
            process.stdin.close()
            process.wait(20)
