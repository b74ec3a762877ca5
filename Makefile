# Each target does its own set-up in .venv. `make serve` and `make test` are all a newcomer needs; `make` alone lists
# the targets, each with the line of comment above it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install install-dev serve test check format lock wheel fuzz guard train-model quantize-model bench-repair bench-engine bench-calls bench-templates bench-attention bench-products bench-proxy bench-runaways soak-proxy soak-engine evaluate-model loops evaluate-variants evaluate-guard evaluate-beyond charts bench-sessions bench-restarts bench-idle bench-unload cache-torture evaluate-other clean

$(BIN)/fortieth: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fortieth needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 ..."; exit 1; }
	@echo "installing fortieth into $(VENV): 0.8 GB, a minute or two; the command is then $(BIN)/fortieth"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint requirements.lock --editable .
	@touch $@

$(VENV)/.dev: $(BIN)/fortieth
	@echo "installing what the tests and checks need"
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[dev]'
	@touch $@

# lists the targets
help:
	@echo "make TARGET, where ARGS='...' is passed on: make serve ARGS='--port 9000 mlx-community/Qwen3-8B-4bit'"
	@awk '/^#/ { sub(/^# */, ""); told = told (told ? " " : "") $$0; next } \
		/^[a-z][a-z-]*:/ { split($$1, name, ":"); sub(/(\. |; ).*/, "", told); \
			if (length(told) > 110) { told = substr(told, 1, 107); sub(/ [^ ]*$$/, " ...", told) } \
			if (told) printf "  make %-18s %s\n", name[1], told } \
		!/^[A-Z_]+ *[?:]?=|^\.PHONY/ { told = "" }' Makefile

# installs fortieth into .venv; 0.8 GB
install: $(BIN)/fortieth

# installs fortieth and what its tests and checks need
install-dev: $(VENV)/.dev

# serves a model, by default the bundled one
serve: install
	$(BIN)/fortieth serve $(ARGS)

# runs the tests in two processes, about 12 minutes; ARGS='tests/repair -k hermes' runs some
test: install-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# runs the gates: lint, layout, types, directions of imports, sizes
check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/test_size.py

# puts the code into the layout that `make check` wants
format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# builds the wheel into dist/
wheel: install-dev
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

# hostile declared formats, then coverage-guided fuzzing of repair/ (Linux); SEED is a file that a crash left
SECONDS ?= 1200
DECLARED ?= 120
fuzz: install-dev
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz.declared $(DECLARED)
	$(BIN)/python -m tests.fuzz.fuzz_repair -max_total_time=$(SECONDS) $(SEED)

# schemathesis over /openapi.json, all routes, with random and hostile bodies; it is installed in a place of its own.
# SECONDS is the longest time of each of the two parts; ARGS='--url http://...' asks a running server
CASES ?= 10000
.PHONY: schemathesis
schemathesis: install-dev .venv-schemathesis/.done
	$(BIN)/python -m tests.fuzz.api .venv-schemathesis/bin/schemathesis --cases $(CASES) --seconds $(SECONDS) $(ARGS)

.venv-schemathesis/.done:
	$(PYTHON) -m venv .venv-schemathesis
	.venv-schemathesis/bin/python -m pip install --quiet 'schemathesis>=4.32,<5'
	@touch $@

# every corpus case through the guard over real HTTP, as text and as structured calls, streamed and not
guard: install-dev
	$(BIN)/python -m tests.proxy.guard_corpus

# trains the bundled model from nothing (see docs/model.md) and puts it in place; RUN goes on from its checkpoint.
# Minutes on a GPU, a working day on two cores
RUN   ?= runs/tiny
MODEL := engine/models/fortieth-tiny
# glibc else gives memory back to the kernel and asks for it again: half of the CPU time of a long run, seen once
KEEP_MEMORY := glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=64000000000:glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1
train-model: .venv-train/.done
	GLIBC_TUNABLES=$(KEEP_MEMORY) .venv-train/bin/python -m corpora.training.train $(RUN) $(ARGS)
	.venv-train/bin/python -m corpora.training.export $(RUN) $(MODEL)
	$(MAKE) quantize-model

# trains on from the bundled weights at lengths up to 32k (docs/model.md) into AGENTS/model, and installs nothing; it
# goes on where it was ended: ARGS="--hours 1". On two busy cores 1.5 hours, ARGS="--processes 2 --batch 8192 --compile"
AGENTS ?= runs/agents
.PHONY: train-agents
train-agents: .venv-train/.done
	GLIBC_TUNABLES=$(KEEP_MEMORY) .venv-train/bin/python -m corpora.training.train $(AGENTS) --from $(MODEL) \
		--course agents --context 49152 --batch 16384 --tokens 11000000 --decay 9000000 --rate 0.01 $(ARGS)
	.venv-train/bin/python -m corpora.training.export $(AGENTS) $(AGENTS)/model

# the 8-bit and 4-bit models that lie beside the full one, by mlx_lm's converter
quantize-model: install
	$(BIN)/python -m corpora.training.quantize $(MODEL) 8
	$(BIN)/python -m corpora.training.quantize $(MODEL) 4

.venv-train/.done: corpora/training/requirements.txt
	$(PYTHON) -m venv .venv-train
	.venv-train/bin/python -m pip install --quiet -r $<
	@touch $@

# repairs N damaged calls of invented tools and prints what became of them (docs/benchmarks/repair.md); with BFCL, a
# folder of the Berkeley Function Calling Leaderboard's files, of real tools too
N ?= 20000
bench-repair: install-dev
	$(BIN)/python -m corpora.bench_repair --injections $(N) $(if $(BFCL),--bfcl "$(BFCL)") $(ARGS)

# the engine beside the bare library and, where they are installed (RIVALS/vllm-mlx, RIVALS/rapid-mlx: virtual
# environments), its rivals; prints the tables of docs/benchmarks/engine.md
RIVALS ?= /tmp/fortieth-rivals
bench-engine: install-dev
	$(BIN)/python -m tests.bench.engine --rivals "$(RIVALS)" $(ARGS)

# the engine on a GPU in ten minutes, without a network (docs/benchmarks/gpu.md); prints tables, and runs/gpu/gpu.json
.PHONY: bench-gpu gpu-bundle
bench-gpu:
	test -x $(BIN)/python || $(MAKE) install-dev
	$(BIN)/python -m tests.bench.gpu $(ARGS)

# what bench-gpu needs on a Linux machine without a network, in parts of 60 MB, into runs/gpu-bundle: there
# `sh runs/gpu-bundle/install.sh`; ARGS='--python 3.12 --without nvidia-*' leaves out what the machine has
gpu-bundle: install-dev
	$(BIN)/python -m tests.bench.gpu_bundle runs/gpu-bundle $(ARGS)

# calls under grammars with and without computing known tokens ahead, in turns; BFCL, a folder of the Berkeley Function
# Calling Leaderboard's files, adds real tools (docs/benchmarks/engine.md)
.PHONY: bench-forced
bench-forced: install-dev
	$(BIN)/python -m tests.bench.forced $(if $(BFCL),--bfcl "$(BFCL)") $(ARGS)

# requests for one call each, of the bundled model: what stands behind it
bench-calls: install-dev
	$(BIN)/python -m tests.bench.calls $(ARGS)

# chat templates (TEMPLATES, a folder of *.jinja files): whose calls are read back, alone and in a history of three turns
TEMPLATES ?= templates
bench-templates: install-dev
	$(BIN)/python -m tests.bench.templates "$(TEMPLATES)"

# a clean turn, the formats in memory and --help beside another checkout (AGAINST=FOLDER), in turns
.PHONY: bench-light
bench-light: install-dev
	$(BIN)/python -m tests.bench.light "$(AGAINST)" $(ARGS)

# requests through the proxy and to the engine, served by this checkout and by another (AGAINST=FOLDER), in turns (Linux)
.PHONY: bench-versions
bench-versions: install-dev
	$(BIN)/python -m tests.bench.versions "$(AGAINST)" $(ARGS)

# heavy requests beside a short chat: how each is answered, the chat's time to first token, memory (Linux); three minutes
.PHONY: bench-hostile
bench-hostile: install-dev
	$(BIN)/python -m tests.bench.hostile $(ARGS)

# attention by numpy beside MLX's own, on a CPU
bench-attention: install-dev
	$(BIN)/python -m tests.bench.attention $(ARGS)

# products of few rows by OpenBLAS, whole and in pieces (docs/decisions/0010), on a Linux CPU
bench-products: install-dev
	$(BIN)/python -m tests.bench.products $(ARGS)

# 500 requests of invented tools to the bundled model, hot and without max_tokens: how long attempts and turns become
bench-runaways: install-dev
	$(BIN)/python -m tests.bench.runaways $(ARGS)

# what fortieth adds to an upstream's answers, beside LiteLLM's proxy (RIVALS/litellm: a virtual environment with
# litellm[proxy], where there is one); three minutes, and nothing else may run
bench-proxy: install-dev
	$(BIN)/python -m tests.bench.proxy --rivals "$(RIVALS)" $(ARGS)

# 200 streams at once for two minutes from an upstream that cuts, stalls, fails and talks nonsense (Linux)
soak-proxy: install-dev
	$(BIN)/python -m tests.bench.proxy_soak $(ARGS)

# two hours (HOURS) of agent loops in all three APIs over servers that are restarted, killed and left by their clients:
# what was lost or broken, and whether anything grows (Linux); a page and a CSV in a new folder below runs/soak
HOURS ?= 2
.PHONY: soak
soak: install-dev
	$(BIN)/python -m tests.bench.long_run "runs/soak/$$(date +%Y-%m-%d-%H%M%S)" --hours $(HOURS) $(ARGS)

# fortieth beside other servers (RIVALS/vllm-mlx, RIVALS/rapid-mlx, RIVALS/litellm: virtual environments;
# RIVALS/llama-cpp/bin/llama-server) on the bundled model, on another one (SECOND/qwen05 and SECOND/qwen05.gguf) and on the
# corpus; a day of a machine, in parts: it goes on where it stopped, and ARGS='--hours 2' ends it. ARGS=--list tells how far it is,
# ARGS='--page docs/comparison.md' writes the published pages, of which each new one is to be listed in mkdocs.yml
SECOND ?= runs/second
.PHONY: comparison
comparison: install-dev
	$(BIN)/python -m tests.bench.comparison runs/comparison --rivals "$(RIVALS)" --second "$(SECOND)" $(ARGS)

# how often `fortieth ab` finds a difference between a server and itself: a thousand simulated runs, twenty real ones
.PHONY: bench-same
bench-same: install-dev
	$(BIN)/python -m tests.bench.same_server $(ARGS)

# random requests with aborts and disconnects, then kill -9 of the engine under load, a rest after each (Linux)
soak-engine: install-dev
	$(BIN)/python -m tests.bench.soak $(ARGS)

# builds the site of docs/ into build/docs, with MkDocs in an environment of its own; a build that warns fails
.PHONY: docs
docs: .venv-docs/.done
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --clean
	$(PYTHON) -m docs_site.check build/docs

.venv-docs/.done: docs_site/requirements.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet -r $<
	@touch $@

# types docs/quickstart.md in an empty home with Python and uv, and says how long each command takes
.PHONY: bench-quickstart
bench-quickstart: install-dev
	$(BIN)/python -m tests.bench.quickstart

# draws the picture of the README: the demo, as its default seed plays it (two minutes)
.PHONY: demo-svg
demo-svg: install
	$(BIN)/fortieth demo --plain --svg docs/img/demo.svg $(ARGS)

# examines the model that a server on URL serves; start it with: make serve ARGS='--guard off'
URL ?= http://127.0.0.1:8040/v1
evaluate-model: install-dev
	$(BIN)/python -m corpora.exam --base-url $(URL) $(ARGS)

# room, manners and correction of the bundled model, guard off (docs/model.md); ARGS='--bits 4', '--base-url URL' for
# another server, '--context N' beyond the trained length, '--parts results --questions 20 --show 5'
.PHONY: examine
examine: install-dev
	$(BIN)/python -m corpora.examinations.run $(ARGS)

# single turns and 40-turn loops against the model that a server on URL serves
loops: install-dev
	$(BIN)/python -m corpora.world.report --base-url $(URL) $(ARGS)

# the tables of docs/benchmarks/model.md: the bundled model in full precision, 8, 4, 3 and 2 bits, served without the guard
evaluate-variants: install-dev
	$(BIN)/python -m corpora.world.variants runs/evaluation $(ARGS)

# the 4-bit model through 40-turn loops with the guard off and on, side by side, as hot as the demo plays it: at
# 0 and 0.7 it breaks hardly anything (docs/model.md)
LOOPS ?= 20
evaluate-guard: install-dev
	$(BIN)/python -m corpora.world.variants runs/guarded --temperatures 1.5 --guard off full --questions 0 \
		--runs $(LOOPS) --only 4-1.5.json 4-1.5-full.json $(ARGS)
	cat runs/guarded/tables.md

# any other model directory (MODEL=FOLDER) through loops of 20 tool turns, guard off and on, at 0.7 and 1.0; it goes on
# where it was ended. A model of half a billion parameters takes hours on two cores
evaluate-other: install-dev
	$(BIN)/python -m corpora.world.variants runs/other --model "$(MODEL)" --temperatures 0.7 1.0 --guard off full \
		--questions 0 --runs 5 --turns 20 --streams 5 \
		--only full-0.7.json full-0.7-full.json full-1.json full-1-full.json $(ARGS)
	cat runs/other/tables.md

# the full model through loops of 80 tool turns, up to 1.7 times the length it was trained on
evaluate-beyond: install-dev
	$(BIN)/python -m corpora.world.variants runs/evaluation --context 20480 --turns 80 --questions 0 --runs 4 \
		--only full-0-20480.json $(ARGS)

# the charts of docs/model.md and docs/benchmarks/model.md
charts: install-dev
	$(BIN)/python -m corpora.world.plot loss docs/img/loss.svg corpora/training/log.jsonl
	$(BIN)/python -m corpora.world.plot learning docs/img/learning.svg corpora/training/probes.jsonl
	$(BIN)/python -m corpora.world.plot validity docs/img/validity.svg \
		$(foreach bits,full 8 4 3 2,runs/evaluation/$(bits)-0.json) runs/evaluation/full-0-20480.json

# the prefix cache: tables of what it saves, in the engine (ARGS) and over HTTP beside rivals (HTTP_ARGS), and a
# folder that is killed and damaged while it works (docs/cache.md)
bench-sessions: install-dev
	$(BIN)/python -m tests.bench.cache $(ARGS)
	$(BIN)/python -m tests.bench.sessions --rivals "$(RIVALS)" $(HTTP_ARGS)

# what a server costs while nobody asks anything of it, after every kind of work (Linux); four minutes
bench-idle: install-dev
	$(BIN)/python -m tests.bench.idle $(ARGS)

# an engine process that ends for want of requests, and requests about that time (Linux); five minutes
bench-unload: install-dev
	$(BIN)/python -m tests.bench.unload $(ARGS)

# servers that are ended right after an answer, and what the next one computes again (Linux)
bench-restarts: install-dev
	$(BIN)/python -m tests.bench.restarts $(ARGS)

# what the engine holds after many distinct prompts of 6,000 tokens, budgets small; with ARGS='--against FOLDER' beside
# another checkout, prompt by prompt
.PHONY: bench-memory bench-outages
bench-memory: install-dev
	$(BIN)/python -m tests.bench.memory $(ARGS)

# tokens a second of eight streams while the page is open in ten browsers, and while it is not, in turns (Linux)
.PHONY: bench-page
bench-page: install-dev
	$(BIN)/python -m tests.bench.page $(ARGS)

# the cache's folder removed, replaced, locked, filled, made read-only while a server runs; mounts need root
bench-outages: install-dev
	$(BIN)/python -m tests.bench.outages $(ARGS)

# real agent clients through a model that calls wrongly, bare and behind fortieth, and once each with the bundled model
# (docs/clients.md); each is installed once into an environment of its own in the folder CLIENTS
CLIENTS ?= /tmp/fortieth-clients
.PHONY: clients
clients: install-dev
	$(BIN)/python -m tests.clients --folder "$(CLIENTS)" $(ARGS)

# sessions that `make clients ARGS='--record FOLDER ...'` recorded, sent again to the bundled model: what of each prompt
# the engine has computed before; ARGS are files of that folder
.PHONY: clients-reuse
clients-reuse: install-dev
	$(BIN)/python -m tests.clients.reuse $(ARGS)

KILLS ?= 200
FLIPS ?= 1000
cache-torture: install-dev
	$(BIN)/python -m tests.bench.torture --kills $(KILLS) --flips $(FLIPS)

# needs uv (https://docs.astral.sh/uv/) on the PATH; one lock for all platforms and Pythons
lock:
	uv pip compile --universal --python-version 3.11 --all-extras --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.lock

# removes the environments, what was built, and all caches
clean:
	rm -rf $(VENV) .venv-schemathesis .venv-train .venv-docs build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
