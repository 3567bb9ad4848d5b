# `make test` checks everything; it installs what is missing by cargo alone.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.PHONY: test lint unit minimal fat-lto docs book bench

# Build output is not part of what is tested; line tables are enough for backtraces.
export CARGO_TERM_COLOR ?= auto
export RUSTDOCFLAGS := -D warnings

test: lint unit minimal fat-lto docs book
	@echo "all checks passed"

lint:
	cargo fmt --all --check
	rustfmt --check --edition 2024 cli/templates/*/main.rs
	cargo clippy --workspace --all-targets --locked -- -D warnings

unit:
	cargo test --workspace --locked

# Without default features: what a user of the local backend alone builds.
minimal:
	cargo build -p examples --example pi --no-default-features --locked

# The registry must outlive the most aggressive link.
fat-lto:
	cargo test -p registry-fixture --profile fat-lto --locked

docs:
	cargo doc --workspace --no-deps --locked

# mdBook is built from source once.
book:
	@command -v mdbook >/dev/null || { echo "installing mdbook (once, about two minutes)"; \
	  cargo install mdbook --version 0.5.3 --locked --no-default-features --features search; }
	PATH="$$PATH:$${CARGO_HOME:-$$HOME/.cargo}/bin" mdbook build book -d "$(CURDIR)/target/book"

bench:
	cargo run --release --locked -p examples --bin wren-bench
