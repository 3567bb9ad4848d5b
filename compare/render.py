"""Writes the table and the plots of the book from results.json; with --check, only checks that they are up to date."""

import json
import math
import re
import statistics
import sys
from pathlib import Path
from typing import Any, Callable

HERE = Path(__file__).resolve().parent
FIGURES = HERE.parent / "book/src/figures"
RESULTS = json.loads((HERE / "results.json").read_text())

Run = dict[str, Any]


def duration(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s"


def count(n: float) -> str:
    for size, name in ((1e6, " M"), (1e3, " k")):
        if n >= size:
            return f"{n / size:.3g}{name}"
    return f"{n:.3g}"


def rate(peer: str, run: Run) -> float:
    return RESULTS["calls"][peer] / run["seconds"]


def speed_up(_: str, run: Run) -> float:
    return run["serial"] / run["seconds"]


def gigabytes(_: str, run: Run) -> float:
    return 2 * 64 * (8 << 20) / run["seconds"] / 1e9


def of_array(bytes_: int) -> Callable[[str, Run], float]:
    return lambda _, run: bytes_ / run["seconds"] / 1e9


def seconds(_: str, run: Run) -> float:
    return run["seconds"]


# Case: the name of the row, the value of a run, and the format of the value.
ROWS: dict[str, tuple[str, Callable[[str, Run], float], Callable[[float], str]]] = {
    "first": ("time to the first result", seconds, duration),
    "call": ("one warm call", seconds, duration),
    "noop": ("calls that do nothing, per second", rate, count),
    "pi": ("speed-up on two processors, Monte Carlo pi", speed_up, lambda x: f"{x:.2f}"),
    "payload": ("64 × 8 MiB in both directions, GB/s", gigabytes, lambda x: f"{x:.2f}"),
    "array": ("64 MiB of floats returned by a call, GB/s", of_array(64 << 20), lambda x: f"{x:.2f}"),
    "array-back": ("64 MiB of floats taken and returned, GB/s", of_array(64 << 20), lambda x: f"{x:.2f}"),
    "array-shared": ("32 MB of floats read by 32 calls, GB/s", of_array(32 * 32_000_000), lambda x: f"{x:.1f}"),
    "killed": ("a worker is killed", seconds, duration),
    "words": (f"word count, {RESULTS['mib']['words']} MiB", seconds, duration),
    "sort": (f"sort, {RESULTS['mib']['sort']} MiB", seconds, duration),
}


ARRAYS = ["array", "array-back", "array-shared"]


def ordered() -> list[str]:
    """Returns the peers that ran anything, in the order in which they are shown."""
    return [peer for peer in [*RESULTS["calls"], "GNU sort"] if any(peer in of_case for of_case in RESULTS["found"].values())]


def values(case: str, peer: str) -> list[float]:
    runs = RESULTS["found"][case].get(peer, [])
    return [ROWS[case][1](peer, run) for run in runs if "failed" not in run]


def failures(case: str, peer: str) -> list[str]:
    return [shortened(run["failed"]) for run in RESULTS["found"][case].get(peer, []) if "failed" in run]


def shortened(failure: str) -> str:
    """Returns the first sentence of a failure, without the packages of classes."""
    plain = re.sub(r"(?:\w+\.)+(\w+(?:Error|Exception))", r"\1", failure.removeprefix("Caused by: "))
    return plain.split(". ")[0]


def cell(case: str, peer: str) -> str:
    failed, good = failures(case, peer), values(case, peer)
    if case == "killed":
        if good and not failed:
            return f"all results, after {duration(statistics.median(good))}"
        return failed[0] if failed else ""
    if not good:
        return failed[0] if failed else ""
    write = ROWS[case][2]
    low, high = write(min(good)), write(max(good))
    text = write(statistics.median(good)) + (f" ({low} to {high})" if low != high else "")
    return text + (f"; {len(failed)} of {len(failed) + len(good)} failed" if failed else "")


def table() -> str:
    """Returns a row for each peer: medians, with the range of the rounds in parentheses."""
    machine, versions = RESULTS["machine"], RESULTS["versions"]
    lines = []
    for cases in (["first", "call", "noop", "pi"], ["payload", "killed", "words", "sort"], ARRAYS):
        lines += ["| | " + " | ".join(ROWS[case][0] for case in cases) + " |", "| --- |" + " --- |" * len(cases)]
        for peer in ordered():
            cells = [cell(case, peer).replace("|", "\\|") for case in cases]
            if any(cells):
                lines.append(f"| {peer} | " + " | ".join(cells) + " |")
        lines.append("")
    lines.append("Versions: " + ", ".join(f"{peer} {versions[peer]}" for peer in ordered()) + ".")
    lines.append(
        f"Machine: {machine['processors']} processors ({machine['processor']}), {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}; {RESULTS['date']}, {RESULTS['rounds']} rounds in {RESULTS['minutes']} minutes."
    )
    lines += [f"{peer} {why}." for peer, why in RESULTS["left_out"].items()]
    return "\n".join(lines) + "\n"


def plot(case: str, title: str, logarithmic: bool) -> str:
    """Returns bars of medians, each with its value as text, readable without colours.

    The book includes the plot in its page, so text and bars have the page's own colour, on light and dark themes.
    """
    write = ROWS[case][2]
    bars = [(peer, statistics.median(values(case, peer))) for peer in ordered() if values(case, peer)]
    most, least = max(value for _, value in bars), min(value for _, value in bars)
    floor = 10 ** math.floor(math.log10(least)) if logarithmic else 0
    left, width, height = 130, 360, 26

    def length(value: float) -> float:
        if logarithmic:
            return width * max(math.log(value / floor) / math.log(most / floor), 0.01)
        return width * value / most

    total = 44 + height * len(bars)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 {total}" width="100%" role="img" aria-label="{title}"'
        ' fill="currentColor" font-family="sans-serif" font-size="13" style="max-width: 600px">',
        f'<text x="10" y="22" font-weight="bold">{title}</text>',
    ]
    for index, (peer, value) in enumerate(bars):
        y = 36 + index * height
        opacity = 0.9 if peer == "wren" else 0.35
        lines += [
            f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{peer}</text>',
            f'<rect x="{left}" y="{y + 2}" width="{length(value):.1f}" height="18" fill-opacity="{opacity}"/>',
            f'<text x="{left + length(value) + 6:.1f}" y="{y + 15}">{write(value)}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def outputs() -> dict[Path, str]:
    mib = RESULTS["mib"]
    return {
        HERE / "table.md": table(),
        FIGURES / "beside-first.svg": plot("first", "Time to the first result (logarithmic; shorter is better)", True),
        FIGURES / "beside-noop.svg": plot("noop", "Calls that do nothing, per second (logarithmic; longer is better)", True),
        FIGURES / "beside-words.svg": plot("words", f"Word count of {mib['words']} MiB, including startup (shorter is better)", False),
        FIGURES / "beside-sort.svg": plot("sort", f"Sort of {mib['sort']} MiB, including startup (shorter is better)", False),
    }


def main() -> int:
    stale = [path for path, text in outputs().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.name} is out of date: run `python3 compare/render.py`", file=sys.stderr)
        return 1 if stale else 0
    FIGURES.mkdir(parents=True, exist_ok=True)
    for path, text in outputs().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
