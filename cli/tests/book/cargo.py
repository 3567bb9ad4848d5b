#!/usr/bin/env python3
"""Replaces `cargo` while a test runs the book's commands, so that they use existing builds.

Programs are built without optimization, and those of the workspace with all features, as for its tests. The builds of
a reader would take minutes, and the programs would print the same.
"""

import json
import os
import subprocess
import sys

REAL = os.environ["REAL_CARGO"]
# The reader's checkout consists of links to the real one, where everything is already built.
ALL = ["--manifest-path", os.path.realpath("Cargo.toml"), "--workspace", "--features", "examples/full"]


def value(arguments: list[str], option: str) -> str | None:
    """Removes an option and its value from the arguments, and returns the value."""
    if option not in arguments:
        return None
    at = arguments.index(option)
    taken = arguments[at + 1]
    del arguments[at : at + 2]
    return taken


def check_features(program: str, given: str) -> None:
    """Fails if a required feature is not given. Cargo cannot notice that, because it gets all features."""
    metadata = subprocess.run([REAL, "metadata", "--no-deps", "--format-version=1"], capture_output=True, check=True)
    targets = [target for package in json.loads(metadata.stdout)["packages"] for target in package["targets"]]
    for target in targets:
        missing = set(target.get("required-features", [])) - set(given.split(","))
        if target["name"] == program and missing:
            sys.exit(f"error: `{program}` requires the features {', '.join(sorted(missing))}")


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[0] == "install":
        folder = value(arguments, "--path")
        sys.exit(0 if folder and os.path.exists(f"{folder}/Cargo.toml") else "error: no such package")
    if arguments[0] == "wren":
        # As cargo runs it, except that CARGO names this script.
        os.execvp("cargo-wren", ["cargo-wren", *arguments])
    if arguments[0] not in ("build", "run"):
        os.execv(REAL, [REAL, *arguments])
    end = arguments.index("--") if "--" in arguments else len(arguments)
    debug, rest = [word for word in arguments[:end] if word != "--release"], arguments[end:]
    options = debug[1:]
    # `cargo wren` identifies packages by their paths.
    package = value(options, "-p") or ""
    if package.split("#")[0].rsplit("/")[-1] != "examples":
        os.execv(REAL, [REAL, *debug, *rest])
    program = value(options, "--example")
    assert program, f"{arguments} does not name a program of `examples`"
    check_features(program, value(options, "--features") or "")
    build = [REAL, "build", *ALL, "--example", program, *options]
    if arguments[0] == "build":
        os.execv(REAL, build)
    if done := subprocess.run([*build, "--quiet"]).returncode:
        sys.exit(done)
    built = f"{os.environ['CARGO_TARGET_DIR']}/debug/examples/{program}"
    os.execv(built, [built, *rest[1:]])


if __name__ == "__main__":
    main()
