# Each target says what it does: `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The emulator's binary comes with the SAM CLI, whose own requirements would clash with ours.
SAM_VENV := .venv-sam
# checkov's would, too.
LINT_VENV := .venv-lint
AUDIT_VENV := .venv-audit
# The peers that we are measured against are nothing that we use.
BENCH_VENV := .venv-bench
BENCH_PIP := $(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check
# A file's tests share what they set up, so they stay in one process. In the order of the folders the
# many short unit tests come last and fill up what the long ones leave.
PYTEST := $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
BENCHMARKS := handlers inference tail batch classify start footprint breakdown training

.DEFAULT_GOAL := help
.PHONY: help setup demo serve classify review test check format lint lint-deploy types pins audit data model bench bench-sweep bench-photos bench-gpu clean
.PHONY: doctor deploy rollback smoke invoke logs teardown

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# Three stages, each a stamp, so that `make demo` does not wait for torch.
$(VENV)/.serving: requirements.txt local/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	$(PIP) -r local/requirements.txt
	touch $@

$(VENV)/.emulator: local/sam-requirements.txt $(VENV)/.serving
	rm -rf $(VENV)/emulator
	$(PIP) --no-deps --target $(VENV)/emulator -r local/sam-requirements.txt
	touch $@

$(SAM_VENV)/.sam: local/sam-requirements.txt
	$(PYTHON) -m venv $(SAM_VENV)
	$(SAM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r local/sam-requirements.txt
	touch $@

$(VENV)/.train: train/requirements.txt $(VENV)/.serving
	$(PIP) -r train/requirements.txt
	touch $@

$(VENV)/.ops: ops/requirements.txt $(VENV)/.serving
	$(PIP) -r ops/requirements.txt
	touch $@

$(LINT_VENV)/.lint: ops/lint-requirements.txt
	$(PYTHON) -m venv $(LINT_VENV)
	$(LINT_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r ops/lint-requirements.txt
	touch $@

# The emulated CloudFormation's own requirements would clash with ours, too.
$(VENV)/.ministack: tests/ministack-requirements.txt $(VENV)/.serving
	rm -rf $(VENV)/ministack
	$(PIP) --no-warn-conflicts --target $(VENV)/ministack -r tests/ministack-requirements.txt
	touch $@

$(VENV)/.tests: tests/requirements.txt $(VENV)/.train $(VENV)/.ops $(VENV)/.ministack
	$(PIP) -r tests/requirements.txt
	touch $@

$(BENCH_VENV)/.bench: requirements.txt local/requirements.txt local/sam-requirements.txt \
		train/requirements.txt benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_PIP) -r requirements.txt
	$(BENCH_PIP) -r local/requirements.txt -r train/requirements.txt
	-$(BENCH_PIP) -r benchmarks/requirements.txt
	rm -rf $(BENCH_VENV)/emulator
	-$(BENCH_PIP) --no-deps --target $(BENCH_VENV)/emulator -r local/sam-requirements.txt
	touch $@

setup: $(VENV)/.tests $(VENV)/.emulator  ## install everything into .venv

demo: $(VENV)/.emulator  ## classify a picture over HTTP and show the answer; IMAGE=photo.jpg takes yours
	@$(BIN)/python -m local demo $(if $(IMAGE),--image "$(IMAGE)")

serve: $(VENV)/.emulator  ## serve on this machine, without Docker; PORT=8080
	@exec $(BIN)/python -m local serve --port $(or $(PORT),8080)

classify: $(VENV)/.serving  ## classify every photo below a folder: DIR=photos [OUT=answers.csv] [SORT_INTO=folder]
	@$(BIN)/python -m local classify "$(DIR)" --out "$(or $(OUT),answers.csv)" $(if $(SORT_INTO),--sort-into "$(SORT_INTO)")

review: $(VENV)/.ops  ## label kept photos into your folder: SOURCE=s3://…|DIR DATA=folder [TABLE=file.csv] [PORT=8081]
	@exec $(BIN)/python -m local review "$(SOURCE)" "$(DATA)" $(if $(TABLE),--table "$(TABLE)") --port $(or $(PORT),8081)

format: $(VENV)/.tests  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

lint-deploy: $(LINT_VENV)/.lint  ## lint the image, its stacks and the workflows
	$(LINT_VENV)/bin/hadolint Dockerfile
	$(LINT_VENV)/bin/actionlint
	$(LINT_VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(LINT_VENV)/bin/checkov --config-file .checkov.yaml --file template.yaml bulk/template.yaml Dockerfile ops/pipeline-role.yaml

types: $(VENV)/.tests
	$(BIN)/mypy

check: lint types  ## format, lint, types, unit and integration tests: two to three minutes
	$(PYTEST) -m "not slow and not docker and not browser" tests/unit tests/integration

test: lint types $(VENV)/.emulator  ## the tests; those of the image and of SAM where Docker answers
	@if docker info >/dev/null 2>&1; then $(MAKE) --no-print-directory $(SAM_VENV)/.sam; fi
	$(PYTEST) -m "not slow"

doctor: $(VENV)/.ops  ## find what would fail after a deployment; [ENV=prod] [PARAMETERS="NAME=VALUE …"]
	@$(BIN)/python -m ops.doctor $(if $(ENV),--env "$(ENV)") $(PARAMETERS)

deploy: $(VENV)/.ops  ## build, release and check; [ENV=prod] [PARAMETERS="NAME=VALUE …"] [TOKEN=…]
	@$(BIN)/python -m ops.release.deploy $(if $(ENV),--env "$(ENV)") $(if $(TOKEN),--token "$(TOKEN)") $(PARAMETERS)

rollback: $(VENV)/.ops  ## send all requests to the version before; [ENV=prod]
	@$(BIN)/python -m ops.release.rollback $(if $(ENV),--env "$(ENV)")

smoke: $(VENV)/.ops  ## check a deployed endpoint; URL=https://… [TOKEN=…] [IAM=1]
	@$(BIN)/python -m ops.smoke "$(URL)" $(if $(TOKEN),--token "$(TOKEN)") $(if $(filter 1,$(IAM)),--iam)

invoke: $(VENV)/.ops  ## send a photo to a function by its name; FUNCTION=… IMAGE=photo.jpg
	@$(BIN)/python -m ops.invoke "$(FUNCTION)" "$(or $(IMAGE),samples/pants.jpg)"

logs: $(VENV)/.ops  ## show a function's last requests; FUNCTION=… [MINUTES=60]
	@$(BIN)/python -m ops.logs "$(FUNCTION)" --minutes $(or $(MINUTES),60)

teardown: $(VENV)/.ops  ## list what deleting a stack removes and leaves; STACK=… YES=1 deletes
	@$(BIN)/python -m ops.teardown "$(STACK)" $(if $(filter 1,$(YES)),--yes)

data:  ## clone the clothing photos into data/
	@[ -d data/clothing-dataset-small ] || git clone --depth 1 \
		https://github.com/alexeygrigorev/clothing-dataset-small data/clothing-dataset-small
	@echo "data/clothing-dataset-small is there."

model: $(VENV)/.train  ## from photos to model/: DATA=folder [TABLE=file.csv] [RECIPE=frozen] [WEIGHTS=none] [OUT=runs/frozen]
	@$(BIN)/python -m train build --data "$(DATA)" $(if $(TABLE),--table "$(TABLE)") $(if $(RECIPE),--recipe "$(RECIPE)") \
		$(if $(WEIGHTS),--weights $(WEIGHTS)) $(if $(OUT),--out "$(OUT)")

bench: $(BENCH_VENV)/.bench  ## measure against peers, about 8 minutes; BENCH_QUICK=1 is a short trial
	@for name in $(BENCHMARKS); do \
		echo "$$name:"; \
		$(BENCH_VENV)/bin/python -m benchmarks.$$name $(if $(BENCH_QUICK),--quick) || exit 1; \
	done
	@$(BENCH_VENV)/bin/python -m benchmarks.figures.report

bench-sweep: $(VENV)/.train  ## time the sweep against the workshop's way: DATA=folder [WEIGHTS=file]
	$(BIN)/python -m benchmarks.sweep --data "$(DATA)" $(if $(WEIGHTS),--weights "$(WEIGHTS)")

bench-photos: $(VENV)/.train  ## time the start of a training on 5,000 to 100,000 drawn photos: 30 minutes, 8 GB
	$(BIN)/python -m benchmarks.photos $(if $(BENCH_QUICK),--quick)

bench-gpu: $(VENV)/.train  ## time fine-tuning on a GPU against the workshop's loop
	$(BIN)/python -m benchmarks.training --gpu

pins: $(VENV)/.tests  ## write requirements.txt anew from requirements.in
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-options --no-header \
		--strip-extras --output-file requirements.txt requirements.in

audit:  ## look the image's packages up in the list of known vulnerabilities
	$(PYTHON) -m venv $(AUDIT_VENV)
	$(AUDIT_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r ops/audit-requirements.txt
	@$(AUDIT_VENV)/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements.txt \
		|| { echo "audit: a package has a known weakness, or could not be looked up; see above" >&2; exit 1; }

clean:  ## remove what was built, keep what was trained
	rm -rf $(VENV) $(SAM_VENV) $(LINT_VENV) $(AUDIT_VENV) $(BENCH_VENV) .aws-sam .cache/photos .pytest_cache .mypy_cache .ruff_cache .hypothesis
