"""Runs the cases with wren and with its alternatives, and writes results.json.

    python3 compare/run.py [--rounds 3] [--case CASE]... [--peer PEER]... [--update]

Python peers get virtual environments below target/compare, once. Each case of each peer runs in its own process. In
each round, all of them run one after another, so that other load on the machine affects all alike. A partial run prints
its figures and leaves results.json unchanged; with --update, it replaces the figures of its cases. Needs only the
standard library.
"""

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
WORK = ROOT / "target/compare"
PROGRAM = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/wren-compare"

# Peer: its command, and the package that it needs, if any. Its environment is named after the package.
PEERS = {
    "wren": ([PROGRAM, "wren"], None),
    "rayon": ([PROGRAM, "rayon"], None),
    "multiprocessing": ([sys.executable, HERE / "peers/multiprocessing_pool.py"], None),
    "Ray": (["ray", HERE / "peers/ray_tasks.py"], "ray"),
    "Dask": (["dask", HERE / "peers/dask_distributed.py"], "dask"),
    "PySpark": (["pyspark", HERE / "peers/pyspark_local.py"], "pyspark"),
    "Lithops": (["lithops", HERE / "peers/lithops_localhost.py"], "lithops"),
    "GNU sort": (["sh", HERE / "peers/gnu_sort.sh"], None),
}
OF_FUNCTIONS = ["wren", "rayon", "multiprocessing", "Ray", "Dask", "PySpark", "Lithops"]
WORDS_MIB = RECORDS_MIB = 256
RECORDS = 16 * -(-((RECORDS_MIB << 20) // 16) // 100)


def sum_to(n: int) -> int:
    return n * (n + 1) // 2


# Case: the peers that run it, and its answer, if known.
CASES: dict[str, tuple[list[str], Any]] = {
    "first": (OF_FUNCTIONS, 2),
    "call": (OF_FUNCTIONS, 2),
    "noop": (OF_FUNCTIONS, None),
    "pi": (OF_FUNCTIONS, 1),
    "payload": ([peer for peer in OF_FUNCTIONS if peer != "rayon"], 1),
    "array": (["wren", "Ray"], 1),
    "array-back": (["wren", "Ray"], 1),
    "array-shared": (["wren", "Ray"], 1),
    "killed": (OF_FUNCTIONS, sum_to(7)),
    "words": (OF_FUNCTIONS, None),
    "sort": (["wren", "rayon", "PySpark", "GNU sort"], RECORDS),
}
# Time limits of cases in seconds; 300 if none is listed.
TIMEOUTS = {"killed": 30}
# Numbers of calls of the case `noop`. Peers with few calls take milliseconds for each.
CALLS = {"Lithops": 500, "Dask": 10_000, "Ray": 10_000}
MANY_CALLS = 100_000


def calls(peer: str) -> int:
    return CALLS.get(peer, MANY_CALLS)


def environments(peers: list[str]) -> None:
    for peer in peers:
        name = PEERS[peer][1]
        if not name or (WORK / f"venv-{name}/done").exists():
            continue
        print(f"installing {peer} (once)", flush=True)
        folder = WORK / f"venv-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", HERE / f"peers/{name}.txt"], check=True)
        (folder / "done").touch()


def command(peer: str) -> list[str]:
    parts, name = PEERS[peer]
    first = WORK / f"venv-{name}/bin/python" if name else parts[0]
    return [str(first), *map(str, parts[1:])]


def inputs() -> dict[str, Path]:
    folders = {}
    for what, mib in (("words", WORDS_MIB), ("records", RECORDS_MIB)):
        folders[what] = WORK / f"{what}-{mib}"
        if not folders[what].exists():
            part = folders[what].with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            subprocess.run([PROGRAM, "generate", what, part, str(mib)], check=True)
            part.rename(folders[what])
    return folders


def measure(peer: str, case: str, folders: dict[str, Path]) -> dict[str, Any]:
    """Runs a case once; returns its figures, or a description of its failure."""
    with tempfile.TemporaryDirectory(dir=WORK) as scratch:
        arguments = {
            "noop": [str(calls(peer))],
            "killed": [f"{scratch}/mark"],
            "words": [str(folders["words"])],
            "sort": [str(folders["records"]), f"{scratch}/sorted"],
        }.get(case, [])
        variables = dict(os.environ, WREN_QUIET="1", WREN_WORKERS="2", RAYON_NUM_THREADS="2", WREN_DIR=f"{scratch}/wren")
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command(peer), case, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=scratch,
            env=variables,
            start_new_session=True,
        )
        try:
            if case == "first":
                line = ""
                while process.poll() is None and not line.startswith("{"):
                    line = process.stdout.readline()
                first = time.perf_counter() - start
                out, err = process.communicate(timeout=120)
                out = line + out
            else:
                out, err = process.communicate(timeout=TIMEOUTS.get(case, 300))
                first = None
        except subprocess.TimeoutExpired:
            return {"failed": f"no answer in {TIMEOUTS.get(case, 300)} s"}
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        whole = time.perf_counter() - start
        lines = [line for line in out.splitlines() if line.startswith("{")]
        if not lines:
            signalled = f"its process was killed by signal {-process.returncode}" if process.returncode < 0 else ""
            return {"failed": signalled or last_error(err) or f"exit code {process.returncode}"}
        result = json.loads(lines[-1])
        result["seconds"] = first if case == "first" else whole if case in ("words", "sort") else result.get("seconds", whole)
        if case == "sort":
            result["digest"] = digest(Path(scratch) / "sorted")
        return result


def last_error(err: str) -> str:
    """Returns the last line that names an error, or else the last line."""
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    named = [line for line in lines if re.search(r"(Error|Exception)\b.*: ", line)]
    return (named or lines or [""])[-1][:120]


def digest(folder: Path) -> str:
    parts = sorted(path for path in folder.iterdir() if path.name.startswith("part"))
    cat = subprocess.Popen(["cat", *parts], stdout=subprocess.PIPE)
    return subprocess.run(["sha256sum"], stdin=cat.stdout, capture_output=True, text=True, check=True).stdout.split()[0]


def is_correct(peer: str, case: str, result: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Returns whether the answer is the known one or, if none is known, that of the first peer."""
    answer = result["answer"]
    known = sum_to(calls(peer)) if case == "noop" else CASES[case][1]
    if known is not None and answer != known:
        return False
    seen = [answer, result.get("digest")] if case in ("words", "sort") else None
    return seen is None or expected.setdefault(case, seen) == seen


def machine() -> dict[str, Any]:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return {
        "processor": model.group(1) if model else platform.processor(),
        "processors": os.cpu_count(),
        "memory_gib": round(int(memory.group(1)) / (1 << 20)) if memory else None,
        "kernel": platform.release().split("-")[0],
    }


def versions(peers: list[str]) -> dict[str, str]:
    found = {}
    for peer in peers:
        name = PEERS[peer][1]
        if name:
            show = [WORK / f"venv-{name}/bin/pip", "show", "--disable-pip-version-check", name]
            text = subprocess.run(show, capture_output=True, text=True, check=True).stdout
            found[peer] = re.search(r"Version: (\S+)", text).group(1)
    lock = (ROOT / "Cargo.lock").read_text()
    for peer, package in (("wren", "wren-cloud"), ("rayon", "rayon")):
        found[peer] = re.search(rf'name = "{package}"\nversion = "([^"]+)"', lock).group(1)
    found["multiprocessing"] = f"Python {platform.python_version()}"
    found["GNU sort"] = subprocess.run(["sort", "--version"], capture_output=True, text=True).stdout.split("\n")[0].split()[-1]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--peer", action="append", choices=PEERS)
    parser.add_argument("--update", action="store_true")
    args = parser.parse_args()
    if args.update and args.peer:
        parser.error("--update needs all peers of a case, because they are compared in one run")
    peers = args.peer or list(PEERS)
    left_out = {}
    if "PySpark" in peers and not shutil.which("java"):
        left_out["PySpark"] = "needs Java 17, which is not installed"
        print(f"skipping PySpark: it {left_out['PySpark']}", file=sys.stderr)
        peers.remove("PySpark")
    WORK.mkdir(parents=True, exist_ok=True)
    environments(peers)
    build = ["cargo", "build", "--release", "--locked", "-p", "examples", "--features", "data,rayon", "--bin", "wren-compare"]
    subprocess.run(build, check=True, cwd=ROOT)
    folders = inputs()

    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    expected: dict[str, Any] = {}
    start = time.monotonic()
    for number in range(args.rounds):
        for case in args.case or CASES:
            for peer in (peer for peer in CASES[case][0] if peer in peers):
                result = measure(peer, case, folders)
                if "failed" not in result and not is_correct(peer, case, result, expected):
                    result = {"failed": f"wrong answer: {result['answer']}"}
                result["load"] = os.getloadavg()[0]
                found.setdefault(case, {}).setdefault(peer, []).append(result)
                print(f"round {number + 1}  {case:<8} {peer:<16} {result.get('failed') or round(result['seconds'], 6)}", flush=True)
    minutes = round((time.monotonic() - start) / 60, 1)
    if args.update:
        results = json.loads((HERE / "results.json").read_text())
        results["found"].update(found)
        results["minutes"] = round(results["minutes"] + minutes, 1)
        return written(results)
    if args.case or args.peer:
        return 0
    results = {
        "date": datetime.date.today().isoformat(),
        "rounds": args.rounds,
        "minutes": minutes,
        "machine": machine(),
        "versions": versions(peers),
        "left_out": left_out,
        "calls": {peer: calls(peer) for peer in OF_FUNCTIONS},
        "mib": {"words": WORDS_MIB, "sort": RECORDS_MIB},
        "found": found,
    }
    return written(results)


def written(results: dict[str, Any]) -> int:
    """Writes the figures, and the table and plots of the book."""
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    return subprocess.run([sys.executable, HERE / "render.py"]).returncode


if __name__ == "__main__":
    sys.exit(main())
