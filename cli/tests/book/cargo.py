#!/usr/bin/env python3
"""Stands in the way of `cargo` while the book's commands are followed: they do the same from what is built already.

Programs are built without optimization, and those of the workspace with all features, as for its tests. What a reader
would build first takes minutes, and prints the same.
"""

import json
import os
import subprocess
import sys

REAL = os.environ["REAL_CARGO"]
# The reader's checkout is made of links to the real one, in which all is built already.
ALL = ["--manifest-path", os.path.realpath("Cargo.toml"), "--workspace", "--features", "examples/full"]


def value(words: list[str], option: str) -> str | None:
    """Takes an option out of the words, and gives its value."""
    if option not in words:
        return None
    at = words.index(option)
    taken = words[at + 1]
    del words[at : at + 2]
    return taken


def check_features(program: str, given: str) -> None:
    """Cargo refuses to build a program without the features that it requires; with all of them, it has nothing to say."""
    metadata = subprocess.run([REAL, "metadata", "--no-deps", "--format-version=1"], capture_output=True, check=True)
    targets = [target for package in json.loads(metadata.stdout)["packages"] for target in package["targets"]]
    for target in targets:
        missing = set(target.get("required-features", [])) - set(given.split(","))
        if target["name"] == program and missing:
            sys.exit(f"error: `{program}` requires the features {', '.join(sorted(missing))}")


def main() -> None:
    words = sys.argv[1:]
    if words[0] == "install":
        folder = value(words, "--path")
        sys.exit(0 if folder and os.path.exists(f"{folder}/Cargo.toml") else "error: no such package")
    if words[0] == "wren":
        # As cargo runs it, but for the cargo that it gets.
        os.execvp("cargo-wren", ["cargo-wren", *words])
    if words[0] not in ("build", "run"):
        os.execv(REAL, [REAL, *words])
    end = words.index("--") if "--" in words else len(words)
    debug, rest = [word for word in words[:end] if word != "--release"], words[end:]
    options = debug[1:]
    # `cargo wren` names packages by where they are.
    package = value(options, "-p") or ""
    if package.split("#")[0].rsplit("/")[-1] != "examples":
        os.execv(REAL, [REAL, *debug, *rest])
    program = value(options, "--example")
    assert program, f"which program of `examples` is meant by {words}?"
    check_features(program, value(options, "--features") or "")
    build = [REAL, "build", *ALL, "--example", program, *options]
    if words[0] == "build":
        os.execv(REAL, build)
    if done := subprocess.run([*build, "--quiet"]).returncode:
        sys.exit(done)
    built = f"{os.environ['CARGO_TARGET_DIR']}/debug/examples/{program}"
    os.execv(built, [built, *rest[1:]])


if __name__ == "__main__":
    main()
