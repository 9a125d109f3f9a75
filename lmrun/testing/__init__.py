"""For tests, ours and those of people who write backends. ``docs/testing.md`` shows how all of this is used.

* :mod:`lmrun.testing.scripted`: a backend without a model, for tests of what sits above backends.
* :mod:`lmrun.testing.server`: ``ScriptedServer``, a server that speaks the protocols of OpenAI, vLLM and Anthropic.
* :mod:`lmrun.testing.proxy`: ``FaultProxy``, the same faults in front of a real server.
* :mod:`lmrun.testing.script`: ``Script``, ``Fault`` and ``Limits``, which say what goes wrong, and with which requests.
* :mod:`lmrun.testing.tokens`: the tokenizer of the scripted server, also as a ``tokenizer.json``.

Nothing is imported here, so that a test only waits for what it uses.
"""
