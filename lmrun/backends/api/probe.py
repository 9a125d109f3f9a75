"""Whether a server can answer what a run is going to ask, found out before the first request.

Each question is asked once, only where a job needs the answer, and what comes is remembered. Silence is not consent: a
parameter that is accepted counts for nothing until the reply shows that it was understood.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from lmrun.backends.api.call import Post
from lmrun.backends.api.failures import CONNECTION, Failed
from lmrun.backends.api.questions import Questions
from lmrun.backends.base import Capability, Needs
from lmrun.requests import RequestKind

_OTHERS = (
    'use a generative variant of the task (such as mmlu_generative), backend = "openai-completions" on a server that '
    'scores prompts (such as vLLM), or backend = "hf"'
)
_NAMES = {
    "prompt_logprobs": "prompt_logprobs",
    "echo": "echo with logprobs",
    "top_logprobs": "log-probabilities of the next token",
}


class Probe(Questions):
    """Decides by what it finds out about one model of one server."""

    async def check(self, needs: Needs, post: Post) -> None:
        """Find out what requests like these need.

        Raises:
            BackendError: the server cannot answer them, with the alternatives.
            Failed: it answers nothing at all (address, key or model are wrong, or the server is down).
        """
        try:
            await self._check(needs, post)
        except Failed as failed:
            if failed.fatal or failed.kind == CONNECTION:
                raise
            raise self.refusal(
                f"a small request to find out what the server can do has failed: {failed}",
                "`lmrun doctor MANIFEST` shows what works; what the server takes otherwise can be said in `dialect`",
            ) from failed

    async def _check(self, needs: Needs, post: Post) -> None:
        if self.spec.backend == "openai-completions":
            if needs.messages:
                self._check_template()
            await self._check_tokens(post)
        if scored := needs.kinds - {"generate_until"}:
            await self._check_scoring(scored, needs, post)
        if "generate_until" in needs.kinds:
            await self.find_answers(post, needs)
        if needs.prefill and needs.messages and self.spec.backend != "openai-completions":
            await self.find_prefill(post)
            if self.found.prefill is False:
                raise self.refusal(
                    f"the beginning of an answer is not continued: {self.found.told['prefill']}",
                    "use a task without gen_prefix, or openai-completions with the model's tokenizer",
                )

    def _check_template(self) -> None:
        if self.encoder is None or not self.encoder.has_chat_template():
            raise self.refusal(
                "messages can be sent to /completions only through the chat template of a tokenizer",
                'name one (tokenizer, chat_template), use backend = "openai-chat", or apply_chat_template = false',
            )

    async def _check_tokens(self, post: Post) -> None:
        if self.encoder is None:
            return
        await self.find_context(post)
        if self.options.prompts != "text":
            await self.find_tokens(post)
            if self.options.prompts == "tokens" and not self.found.tokens:
                raise self.refusal(
                    f"prompts as token ids are not taken: {self.found.told['tokens']}", 'prompts = "text"'
                )
        await self.find_same_tokens(post)
        if self.as_tokens and self.found.same_tokens is False:
            raise self.refusal(
                f"the tokenizer {self.options.tokenizer!r} is not the server's: {self.found.told['same_tokens']}",
                "name the tokenizer of the model that is served, or leave `tokenizer` out to send text",
            )

    def _one_token(self, needs: Needs) -> bool:
        """Whether the continuations may be single tokens; only a character surely is one.

        A chat has no other way of scoring. Elsewhere a word may be several tokens, and its samples would be errors.
        """
        sure = self.spec.backend == "openai-completions" and self.options.scoring == "auto"
        return needs.longest <= 1 if sure else not needs.phrases

    async def _check_scoring(self, kinds: frozenset[RequestKind], needs: Needs, post: Post) -> None:
        tried: list[str] = []
        one_token = self._one_token(needs) and "loglikelihood_rolling" not in kinds
        for name, find in self._methods(one_token=one_token).items():
            await find(post)
            if getattr(self.found, name):
                if "loglikelihood_rolling" in kinds and not self.as_tokens:
                    await self.find_rolling(post)
                return
            tried.append(f"{_NAMES[name]}: {self.found.told[name]}")
        what = " and ".join(sorted(kinds))
        reasons = (
            "; ".join(tried)
            or "More than one token is to be scored, and the log-probabilities of a prompt are not given"
        )
        words = 'scoring = "next_token" if each choice is a single token, or ' if self._may_be_tokens(needs) else ""
        raise self.refusal(f"{what} requests cannot be answered honestly. {reasons}", words + _OTHERS)

    def _may_be_tokens(self, needs: Needs) -> bool:
        return self.spec.backend == "openai-completions" and needs.longest > 1 and not needs.phrases

    def _methods(self, *, one_token: bool) -> Mapping[str, Callable[[Post], Awaitable[None]]]:
        """The ways of scoring that come into question, the best first."""
        wanted = self.options.scoring
        methods: dict[str, Callable[[Post], Awaitable[None]]] = {}
        if self.spec.backend == "openai-completions":
            if wanted in ("auto", "prompt_logprobs") and self.as_tokens:
                methods["prompt_logprobs"] = self.find_prompt_logprobs
            if wanted in ("auto", "echo"):
                methods["echo"] = self.find_echo
        if wanted in ("auto", "next_token") and one_token and self.spec.backend != "anthropic":
            methods["top_logprobs"] = self.find_top_logprobs
        return methods

    async def capabilities(self, post: Post) -> list[Capability]:
        """All that can be found out; nothing of it raises."""
        from lmrun.backends.api.survey import survey

        return await survey(self, post)
