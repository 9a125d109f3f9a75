# What people do here. `just` alone: everything that has to pass before a commit.
python := env("PYTHON", ".venv-dev/bin/python")

default: check test

# a development environment with everything the tests need
setup:
    python3 -m venv .venv-dev
    .venv-dev/bin/pip install -c constraints.txt -e ".[dev]"

# formatting, lint, types, import contracts
check:
    {{python}} -m ruff format --check lmrun tests tasks benchmarks
    {{python}} -m ruff check lmrun tests tasks benchmarks
    {{python}} -m mypy
    {{parent_directory(python)}}/lint-imports

test *args:
    {{python}} -m pytest -n 2 {{args}}

# the Python of an environment with the real lm-eval, made once and kept
lm-eval-python:
    @bash .ci/parity-venv

# compare with the real lm-eval (needs LMRUN_TEST_MIRROR)
parity *args:
    LMRUN_LMEVAL_PYTHON="$(bash .ci/parity-venv | tail -n 1)" {{python}} -m pytest -m parity tests/parity {{args}}

# the wide comparison as markdown: `just parity-full --fixtures`, `just parity-full --tasks-path lm-eval --quick`
parity-full *args:
    LMRUN_LMEVAL_PYTHON="$(bash .ci/parity-venv | tail -n 1)" {{python}} -m tests.parity.report {{args}}

# ask a real vLLM on the CPU, in an environment that is made once and kept
servers *args:
    LMRUN_VLLM_PYTHON="$(bash .ci/server-venv | tail -n 1)" {{python}} -m pytest -m servers tests/servers {{args}}

# train the demo model again, and write the data of the demo tasks
demo:
    {{python}} -m lmrun.demo.train --out lmrun/demo/model
    {{python}} -m lmrun.demo.corpus --out tasks/demo/data

# pages that are generated from the code
docs:
    {{python}} -m lmrun.manifest.reference > docs/manifest.md
    {{python}} -m lmrun.cli.reference > docs/commands.md

# pin what bundled tasks ask: `just pin gsm8k 'mmlu_*'`; a changed prompt needs another version, or --force
pin *args:
    {{python}} -m tests.library.pin {{args}}

# pins of everything, for every supported Python; an existing constraints.txt is kept where it still fits
constraints:
    uv pip compile pyproject.toml --extra dev --universal --python-version 3.10 --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o constraints.txt
