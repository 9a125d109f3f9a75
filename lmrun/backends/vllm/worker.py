"""The process in which vLLM runs. Its engine can die, be killed and leak: nothing of the run goes with it.

Started as ``python -m lmrun.backends.vllm.worker N``, where N is the number of an open socket; what it prints goes
where its parent has put its output. It is told one :class:`Start`, then any number of questions.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from lmrun.backends.hf.reasoning import ReasoningWatch
from lmrun.backends.vllm.limits import Limits, scoring_limits
from lmrun.backends.vllm.messages import Failed, Ready, Start
from lmrun.backends.vllm.questions import Continued, Continuing, Question, Refused, Reply, Scored, Scoring

_CPU_BLOCK = 32
"""Tokens of a block of the prefix cache; vLLM's own choice of 128 would share less."""
_CPU_CACHE_BYTES = 4 << 30
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Of LoRA adapters, that vLLM has room for."""


def limits_of(start: Start, memory: int) -> Limits | None:
    """What bounds the engine on a device of so much memory; None: vLLM's own limits."""
    if not (start.bounded or start.deaths):
        return None
    limits = scoring_limits(start.vocabulary, memory, start.utilization)
    for _ in range(start.deaths):
        limits = limits.smaller()
    return limits


def main() -> None:
    """Work until the other side hangs up."""
    connection = Connection(int(sys.argv[1]))
    try:
        start = connection.recv()
        worker = Worker(start)
        connection.send(worker.ready())
        worker.work(connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone, or wants no more
    except Exception as error:  # noqa: BLE001 - the process ends, and the parent says why
        # First the log: once the parent knows, it may end this process at any moment.
        traceback.print_exc()
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        connection.send(Failed(text, _is_out_of_memory(error, text)))
        sys.exit(1)
    finally:
        sys.stdout.flush()


def _is_out_of_memory(error: BaseException, text: str) -> bool:
    low = text.lower()
    return isinstance(error, MemoryError) or "out of memory" in low or "free memory on device" in low


class Worker:
    """One engine."""

    def __init__(self, start: Start) -> None:
        from vllm import EngineArgs, LLMEngine, SamplingParams
        from vllm.lora.request import LoRARequest
        from vllm.platforms import current_platform

        if not hasattr(SamplingParams, "logprob_token_ids"):
            raise RuntimeError("this vLLM cannot give log-probabilities of chosen tokens (logprob_token_ids)")
        memory = int(current_platform.get_device_total_memory())
        self._limits = limits_of(start, memory)
        arguments = {**self._found(start, on_cpu=current_platform.is_cpu()), **start.arguments}
        self._engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
        self._lora = LoRARequest("adapter", 1, start.adapter) if start.adapter else None
        self._device = current_platform.get_device_name() if not current_platform.is_cpu() else "cpu"
        self._asked: dict[str, Question] = {}
        self._watched: dict[str, _Watch] = {}

    def _found(self, start: Start, *, on_cpu: bool) -> dict[str, Any]:
        arguments: dict[str, Any] = {"disable_log_stats": True, "enable_prefix_caching": True}
        if self._limits:
            arguments |= {
                "max_num_batched_tokens": self._limits.max_num_batched_tokens,
                "max_num_seqs": self._limits.max_num_seqs,
                "gpu_memory_utilization": self._limits.gpu_memory_utilization,
            }
        elif start.utilization is not None:
            arguments["gpu_memory_utilization"] = start.utilization
        if on_cpu:
            arguments["block_size"] = _CPU_BLOCK
            if "VLLM_CPU_KVCACHE_SPACE" not in os.environ and start.utilization is None:
                arguments["kv_cache_memory_bytes"] = _cpu_cache_bytes()
        if start.adapter:
            rank = next((rank for rank in _RANKS if rank >= start.adapter_rank), start.adapter_rank)
            arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank}
        return arguments

    def ready(self) -> Ready:
        """What is known of the engine."""
        config = self._engine.vllm_config
        scheduler, cache = config.scheduler_config, config.cache_config
        facts = {
            "device_name": self._device,
            "dtype": str(config.model_config.dtype).removeprefix("torch."),
            "max_num_batched_tokens": scheduler.max_num_batched_tokens,
            "max_num_seqs": scheduler.max_num_seqs,
            "gpu_memory_utilization": cache.gpu_memory_utilization,
            "kv_cache_tokens": (cache.num_gpu_blocks or 0) * cache.block_size,
            "block_size": cache.block_size,
        }
        return Ready(facts, scheduler.max_num_seqs)

    def work(self, connection: Connection) -> None:
        """Take questions, and send what is answered after every step; returns when it is told None."""
        while True:
            refused: list[tuple[int, Reply]] = []
            while connection.poll(None if not (self._asked or refused) else 0):
                message = connection.recv()
                if message is None:
                    return
                refused += self._add_all(message)
            replies = refused + self._step()
            if replies:
                connection.send(replies)

    def _add_all(self, questions: Sequence[tuple[int, Question]]) -> list[tuple[int, Reply]]:
        refused: list[tuple[int, Reply]] = []
        for number, question in questions:
            try:
                self._add(str(number), question)
            except ValueError as error:  # what vLLM raises for parameters and prompts that it does not take
                refused.append((number, Refused(" ".join(str(error).split()))))
        return refused

    def _add(self, name: str, question: Question) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        if isinstance(question, Scoring):
            parameters = SamplingParams(
                temperature=0.0,
                max_tokens=1,
                detokenize=False,
                prompt_logprobs=0 if question.tail else None,
                logprob_token_ids=list(question.wanted),
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
        else:
            watched = question.delimiters is not None and bool(question.answer_stops)
            parameters = SamplingParams(
                **question.sampling,
                detokenize=bool(question.sampling.get("stop")),
                skip_special_tokens=False,
                output_kind=RequestOutputKind.DELTA if watched else RequestOutputKind.FINAL_ONLY,
            )
            if watched:
                self._watched[name] = _Watch(question, self._engine.get_tokenizer())
        prompt = {"prompt_token_ids": list(question.tokens)}
        try:
            self._engine.add_request(name, prompt, parameters, lora_request=self._lora)
        except ValueError:
            self._watched.pop(name, None)
            raise
        self._asked[name] = question

    def _step(self) -> list[tuple[int, Reply]]:
        replies: list[tuple[int, Reply]] = []
        for output in self._engine.step() if self._asked else ():
            name = output.request_id
            watch = self._watched.get(name)
            if watch and watch.feed(output.outputs[0].token_ids) and not output.finished:
                self._engine.abort_request([name])
                reply: Reply | None = Continued(tuple(watch.tokens), "stop", output.num_cached_tokens or 0)
            else:
                reply = _reply(self._asked[name], output, watch) if output.finished else None
            if reply is not None:
                del self._asked[name]
                self._watched.pop(name, None)
                replies.append((int(name), reply))
        return replies


class _Watch:
    """Follows an answer with reasoning, and sees the stop behind it."""

    def __init__(self, question: Continuing, tokenizer: Any) -> None:
        assert question.delimiters is not None
        self.tokens: list[int] = []
        self._watch = ReasoningWatch(
            tokenizer.decode, question.delimiters, question.answer_stops, opened=question.opened
        )

    def feed(self, tokens: Sequence[int]) -> bool:
        """Take further tokens; whether a stop has ended the answer."""
        for token in tokens:
            self.tokens.append(token)
            if self._watch.feed(token):
                return True
        return False


def _reply(question: Question, output: Any, watch: _Watch | None) -> Reply:
    done, cached = output.outputs[0], output.num_cached_tokens or 0
    if done.finish_reason not in ("stop", "length"):
        return Refused(f"vLLM ended the request: {done.finish_reason}")
    if isinstance(question, Continuing):
        tokens = tuple(watch.tokens if watch else done.token_ids)
        return Continued(tokens, "stop" if done.finish_reason == "stop" else "length", cached)
    scored = question.tokens[len(question.tokens) - question.tail :]
    entries = output.prompt_logprobs[-question.tail :] if question.tail else ()
    tail = [entry[token] for entry, token in zip(entries, scored, strict=True)]
    after = done.logprobs[0]
    return Scored(
        tuple(entry.logprob for entry in tail),
        all(entry.rank == 1 for entry in tail),
        tuple(after[token].logprob for token in question.wanted),
        done.token_ids[0],
        cached,
    )


def _cpu_cache_bytes() -> int:
    import psutil

    return int(min(_CPU_CACHE_BYTES, psutil.virtual_memory().available // 8))


if __name__ == "__main__":
    main()
