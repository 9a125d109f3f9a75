"""What is measured, one function per part. Each prints its lines as they are known."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apibench.clients import QUIET, Bare, Lmrun, Ran, peers
from apibench.server import ROOT, Handle, serving
from apibench.work import CHOICES, Kind, Work
from lmrun.testing.faults import prompt_of
from lmrun.testing.script import Fault, Limits, Script

LATENCY = 0.05
KINDS: tuple[Kind, ...] = ("completions", "chat")


@dataclass(frozen=True)
class Setting:
    """How much is measured, and where files go."""

    folder: Path
    quick: bool

    def pick(self, quick: Any, full: Any) -> Any:
        return quick if self.quick else full

    def work(self, kind: Kind, requests: int) -> Work:
        return Work(self.folder, kind, max(CHOICES, requests // CHOICES * CHOICES)).write()


# -- speed ---------------------------------------------------------------------------------------------------------


def rate(setting: Setting) -> None:
    """Requests per second against a bare client, at several concurrencies; processor time; start."""
    print(f"{'':11} {'':>5} {'':14} {'requests/s':>10} {'of bare':>8} {'steady':>7} {'CPU ms':>7} {'start s':>8}")
    # Without `prompt_logprobs`, which only lmrun would ask for: so all clients send the same bodies.
    with serving(Script(latency=LATENCY, ignores=("prompt_logprobs",))) as server:
        for kind in KINDS:
            for concurrency in setting.pick((16, 64), (1, 16, 64, 256, 512)):
                _rate_row(setting, server, kind, concurrency)


def _rate_row(setting: Setting, server: Handle, kind: Kind, concurrency: int) -> None:
    seconds = setting.pick(1.5, 10)
    requests = int(seconds * min(concurrency / LATENCY, 3000))
    found: dict[str, list[Ran]] = {}
    for _ in range(setting.pick(1, 2)):
        for client in (Bare(), Lmrun(), *peers()):
            work = setting.work(kind, min(requests, client.most))
            if client.can(work):
                found.setdefault(client.name, []).append(client.ask(work, server, concurrency))
    bare = found["bare aiohttp"]
    for name, runs in found.items():
        whole = _mean(run.stats.rate / base.stats.rate for run, base in zip(runs, bare, strict=True))
        steady = _mean(run.stats.steady_rate / base.stats.steady_rate for run, base in zip(runs, bare, strict=True))
        cpu = _mean(1000 * run.cpu / max(1, run.stats.requests) for run in runs)
        start = _mean(run.first_request for run in runs)
        speed = _mean(run.stats.rate for run in runs)
        line = f"{kind:11} {concurrency:5} {name:14} {speed:10.1f} {whole:8.1%} {steady:7.1%} {cpu:7.2f} {start:8.2f}"
        print(line + _failed(runs), flush=True)


def start(setting: Setting) -> None:
    """From the start of the process to its first request."""
    print(f"{'':14} {'first request':>14} {'of lmrun':>9}")
    with serving(Script()) as server:
        for kind in KINDS:
            work = setting.work(kind, 20)
            ours = None
            for client in (Lmrun(), *peers()):
                if not client.can(work):
                    continue
                runs = [client.ask(work, server, 8) for _ in range(setting.pick(1, 5))]
                seconds = statistics.median(run.first_request for run in runs)
                ours = ours or seconds
                print(f"{client.name:14} {seconds:12.2f} s {seconds / ours:8.1f}x  {kind}{_failed(runs)}", flush=True)


def memory(setting: Setting) -> None:
    """Most memory and processor time by the number of requests; what one request adds."""
    print(f"{'':14} {'requests':>9} {'RSS MB':>8} {'CPU s':>8} {'CPU ms each':>12}")
    with serving(Script(latency=0.01)) as server:
        for client in (Lmrun(), *peers()):
            before: tuple[int, Ran] | None = None
            for requests in setting.pick((200, 1_000), (1_000, 20_000, 200_000)):
                work = setting.work("chat", requests)
                if not client.can(work) or requests > client.most:
                    continue
                ran = client.ask(work, server, 256)
                each = 1000 * (ran.cpu - before[1].cpu) / (requests - before[0]) if before else float("nan")
                line = f"{client.name:14} {requests:9,} {ran.rss:8.0f} {ran.cpu:8.1f} {each:12.2f}"
                print(line + _failed([ran]), flush=True)
                before = (requests, ran)


# -- limits and faults ---------------------------------------------------------------------------------------------


def limit(setting: Setting) -> None:
    """A server that bears 5 requests per second, asked with 64 at once."""
    bears, first = 5, setting.pick(20, 100)
    work = setting.work("chat", setting.pick(60, 600))
    print(f"{'':14} {'of the limit':>13} {'lost':>6} {'sent':>6} {f'attempts each, after {first}':>27}")
    script = Script(latency=LATENCY, limits=Limits(requests_per_second=bears))
    for client in (Lmrun(start=8), *peers()):
        if not client.can(work):
            continue
        with serving(script) as server:
            ran = client.ask(work, server, 64)
        answers = ran.stats.answers
        lost = work.requests - len(answers)
        share = len(answers) / (answers[-1] - ran.stats.first) / bears if answers else 0.0
        later = [came for came, _ in ran.stats.times if len(answers) > first and came > answers[first - 1]]
        each = len(later) / (len(answers) - first) if len(answers) > first else float("nan")
        print(
            f"{client.name:14} {share:13.1%} {lost:6} {ran.stats.requests:6} {each:27.2f}{_failed([ran])}", flush=True
        )


FAULTS = (
    Fault("status", share=0.01, status=400, sticky=True),
    Fault("status", share=0.05, status=500),
    Fault("reset", share=0.02),
    Fault("truncated", share=0.02),
)
KILLS = 5
CONCURRENCY = 64


def faults(setting: Setting) -> None:
    """500s, resets, truncated JSON and permanent 400s, with and without ``kill -9`` on the way."""
    work = setting.work("chat", setting.pick(500, 5_000))
    bodies = work.bodies()
    lost = {i for i, body in enumerate(bodies) if FAULTS[0].befalls("", prompt_of(body), b"", 1, "0.0")}
    with serving(Script(latency=LATENCY)) as server:
        whole = _Series(setting.folder / "whole", work, server).finish()
    script = Script(latency=LATENCY, faults=FAULTS)
    for kills in (0, KILLS):
        with serving(script) as server:
            series = _Series(setting.folder / f"killed-{kills}", work, server)
            done = series.killed(kills)
            answers = series.finish()
            stats = server.stats()
        errors = {i for i, answer in answers.items() if answer is None}
        same = sum(answers[i] == whole[i] for i in answers if i not in lost)
        print(
            f"lmrun, {done} kills: {stats.requests} sent for {work.requests}; error rows {len(errors)}, "
            f"permanent {len(lost)}, {'the same' if errors == lost else 'NOT the same'}; other answers equal to the "
            f"fault-free run {same} of {work.requests - len(lost)}; answered twice {stats.repeated}, "
            f"in flight at the kills {done * CONCURRENCY} at most",
            flush=True,
        )
    for client in peers():
        with serving(script) as server:
            ran = client.ask(work, server, CONCURRENCY)
        print(f"{client.name}, 0 kills: ended with {ran.code} after {ran.stats.requests} requests", flush=True)


class _Series:
    """Processes of lmrun that begin and go on with one run."""

    def __init__(self, folder: Path, work: Work, server: Handle) -> None:
        self._folder, self._work, self._server = folder, work, server
        folder.mkdir()
        lmrun = Lmrun()
        self._command = lmrun.batch(lmrun.manifest(work, server, CONCURRENCY), folder)
        self._environment = {**os.environ, **QUIET, "PYTHONPATH": str(ROOT)}
        server.reset()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._folder / "output.txt").open("ab") as output:
            return subprocess.Popen(self._command, env=self._environment, stdout=output, stderr=output)

    def killed(self, kills: int) -> int:
        """Kill so many processes at even steps of progress; how many were."""
        done = 0
        for step in range(1, kills + 1):
            process = self._start()
            while process.poll() is None:
                if len(self._server.stats().answers) >= self._work.requests * step // (kills + 1):
                    process.kill()
                    process.wait()
                    done += 1
                    break
                time.sleep(0.02)
        return done

    def finish(self) -> dict[int, str | None]:
        """Run to the end; the answer of each doc, None where it is an error."""
        code = self._start().wait()
        if code not in (0, 1):
            raise SystemExit(f"lmrun ended with {code}: {(self._folder / 'output.txt').read_text()[-2000:]}")
        (run,) = (path.parent for path in self._folder.glob("*/lock.json"))
        command = [self._command[0], "-m", "lmrun", "show", str(run), "--model", "tiny", "-n", "1000000", "--json"]
        shown = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=True)
        rows = (json.loads(line) for line in shown.stdout.split("\n") if line)
        return {row["doc_id"]: row["requests"][0]["response"].get("text") for row in rows}


TRAPS: Mapping[str, Script] = {
    "honest": Script(),
    "echo and logprobs ignored": Script(ignores=("echo", "logprobs", "prompt_logprobs")),
    "logprobs left out": Script(faults=[Fault("no_logprobs")]),
    "logprobs shifted by one": Script(faults=[Fault("shifted_logprobs")]),
    "logprobs all zero": Script(faults=[Fault("zero_logprobs")]),
}


def trap(setting: Setting) -> None:
    """Servers whose log-probabilities are missing or wrong: is a score made of them?"""
    print(f"{'':28} {'':14} {'exit':>5} {'requests':>9}  score")
    work = setting.work("completions", 400)
    for name, script in TRAPS.items():
        for client in (Lmrun(), *peers()):
            if not client.can(work):
                continue
            with serving(script) as server:
                ran = client.ask(work, server, 16)
            score = _score(work, ran)
            print(f"{name:28} {client.name:14} {ran.code:5} {ran.stats.requests:9}  {score}", flush=True)


def _score(work: Work, ran: Ran) -> str:
    for line in ran.stdout.splitlines():
        if line.startswith("{") and '"event": "done"' in line:
            results: Sequence[Mapping[str, Any]] = json.loads(line)["results"]
            return ", ".join(f"{row['metric']} {row['value']}" for row in results if row["n"]) or "none"
        if line.startswith(f"|{work.task}"):
            cells = [cell.strip() for cell in line.split("|")]
            return f"{cells[5]} {cells[7]}"
    return "none"


# ------------------------------------------------------------------------------------------------------------------


def _mean(values: Any) -> float:
    return statistics.fmean(values)


def _failed(runs: Sequence[Ran]) -> str:
    codes = sorted({run.code for run in runs} - {0})
    return f"  ended with {codes[0]}" if codes else ""


PARTS: Mapping[str, Callable[[Setting], None]] = {
    part.__name__: part for part in (rate, start, memory, limit, faults, trap)
}
