#!/usr/bin/env python3
"""Measures how long the builds of a new user take: processor seconds and wall time, from empty target folders.

Crates are downloaded before the measurements. Only compare results of the same quiet machine with two cores.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FEATURES = "data,images,kv,otel,rayon,redis,sim"


def run(command: list[str], cwd: Path = ROOT, env: dict[str, str] | None = None) -> tuple[float, float]:
    """Runs a command; returns its processor seconds and its wall time."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(command)} failed:\n{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def crates(options: list[str]) -> int:
    tree = ["cargo", "tree", "--locked", "-p", "wren-cloud", "-e", "normal,build", "--prefix", "none", *options]
    lines = subprocess.run(tree, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return len({line.removesuffix(" (*)") for line in lines if line})


def main() -> None:
    subprocess.run(["cargo", "fetch", "--locked"], cwd=ROOT, check=True, capture_output=True)
    folder = Path(tempfile.mkdtemp(prefix="wren-build-time-"))

    def row(what: str, spent: tuple[float, float]) -> None:
        print(f"| {what} | {spent[0]:.0f} s | {spent[1]:.1f} s |", flush=True)

    def target(name: str) -> dict[str, str]:
        return {"CARGO_TARGET_DIR": str(folder / name)}

    try:
        print("| measure | processor | wall |\n| --- | --- | --- |")
        first = ["cargo", "build", "--release", "--locked", "-p", "examples", "--example", "sweep"]
        row("README's first command, build only", run(first, env=target("first")))
        shutil.rmtree(folder / "first")
        install = ["cargo", "install", "--locked", "--path", "cli", "--root", str(folder / "root"), "--no-track"]
        row("`cargo install --path cli`", run(install, env=target("cli")))
        shutil.rmtree(folder / "cli")
        run([str(folder / "root/bin/cargo-wren"), "wren", "new", "hello"], cwd=folder)
        hello = folder / "hello"
        # The same versions as above, so nothing has to be downloaded.
        shutil.copy(ROOT / "Cargo.lock", hello / "Cargo.lock")
        program = ["cargo", "run", "--release"]
        row("`cargo wren new hello && cargo run --release`, first time", run(program, cwd=hello, env=target("hello")))
        main_rs = hello / "src/main.rs"
        main_rs.write_text(main_rs.read_text().replace("1_000_000", "1_000_001"))
        row("the same after one changed line", run(program, cwd=hello, env=target("hello")))
        shutil.rmtree(folder / "hello")
        examples = ["cargo", "build", "--release", "--locked", "-p", "examples", "--examples", "--bins"]
        row(f"all examples ({FEATURES})", run([*examples, "--features", FEATURES], env=target("examples")))
        print(f"\ncrates that wren adds: {crates([])}, without default features {crates(['--no-default-features'])}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
