"""The cases for peers that are used from Python. A case prints one line of JSON, like `wren-compare`."""

import json
import os
import random
import statistics
import sys
import time
from collections import Counter
from typing import Any, Callable, Iterable

# Tasks of about a tenth of a second, like those of wren and rayon.
PI_TASKS, PI_POINTS = 64, 500_000
PAYLOADS, PAYLOAD = 64, 8 << 20
CALLS = 50
# Size of the array in a result, in MiB; size of the array that calls share, in floats; number of these calls; number of
# runs, of which the best counts.
ARRAY, SHARED, TAKERS, RUNS = 64, 4_000_000, 32, 5


def increment(n: int) -> int:
    return n + 1


def throw(seed: int) -> int:
    rng = random.Random(seed).random
    return sum(rng() ** 2 + rng() ** 2 <= 1.0 for _ in range(PI_POINTS))


def echo(data: bytes) -> bytes:
    return data


class DieOnce:
    """A function that ends its process in the fourth task, the first time."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __call__(self, n: int) -> int:
        if n == 3 and not os.path.exists(self.mark):
            open(self.mark, "x").close()
            os.abort()
        return n


def count_file(path: str) -> Counter:
    counts: Counter = Counter()
    with open(path) as file:
        for line in file:
            counts.update(line.split())
    return counts


def merged(parts: Iterable[Counter]) -> list[int]:
    counts: Counter = Counter()
    for part in parts:
        counts.update(part)
    return [counts.total(), len(counts), max(counts.values())]


def files(folder: str) -> list[str]:
    return sorted(os.path.join(folder, name) for name in os.listdir(folder))


class Peer:
    """A peer defines how to call a function and how to map it; some have their own word count."""

    def call(self, function: Callable[[Any], Any], argument: Any) -> Any:
        raise NotImplementedError

    def map(self, function: Callable[[Any], Any], arguments: Iterable[Any]) -> list[Any]:
        raise NotImplementedError

    def words(self, folder: str) -> list[int]:
        return merged(self.map(count_file, files(folder)))

    def sort(self, folder: str, out: str) -> int:
        raise NotImplementedError

    def array(self, mib: int) -> Any:
        """Returns an array of floats that a call makes."""
        raise NotImplementedError

    def back(self, array: Any) -> Any:
        """Returns the result of a call that takes an array and returns it."""
        raise NotImplementedError

    def ends(self, array: Any, calls: int) -> list[float]:
        """Returns a sum of two elements from each of these calls, which take the same array."""
        raise NotImplementedError

    def close(self) -> None:
        pass


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def run(peer: Peer, case: str, arguments: list[str]) -> dict[str, Any]:
    if case == "first":
        return {"answer": peer.call(increment, 1)}
    if case in ("words", "sort"):
        return {"answer": getattr(peer, case)(*arguments)}
    if case == "killed":
        return {"answer": sum(peer.map(DieOnce(arguments[0]), range(8)))}
    peer.map(increment, range(8))
    if case == "call":
        times = [timed(lambda: peer.call(increment, n))[0] for n in range(CALLS)]
        return {"seconds": statistics.median(times), "answer": peer.call(increment, 1)}
    if case == "noop":
        seconds, results = timed(lambda: peer.map(increment, range(int(arguments[0]))))
        return {"seconds": seconds, "answer": sum(results)}
    if case == "pi":
        seconds, results = timed(lambda: sum(peer.map(throw, range(PI_TASKS))))
        serial, expected = timed(lambda: sum(map(throw, range(PI_TASKS))))
        return {"seconds": seconds, "serial": serial, "answer": int(results == expected)}
    if case == "payload":
        line = bytes(range(256)) * (PAYLOAD // 256 + 1)
        data = [line[i : i + PAYLOAD] for i in range(PAYLOADS)]
        seconds, results = timed(lambda: peer.map(echo, data))
        return {"seconds": seconds, "answer": int(results == data)}
    if case.startswith("array"):
        return arrays(peer, case)
    raise SystemExit(f"unknown case {case}")


def arrays(peer: Peer, case: str) -> dict[str, Any]:
    import numpy

    if case == "array":
        runs = [timed(lambda: peer.array(ARRAY)) for _ in range(RUNS)]
        correct = all(len(array) == (ARRAY << 20) // 8 and array[-1] == 0.5 for _, array in runs)
    elif case == "array-back":
        sent = [numpy.full((ARRAY << 20) // 8, float(n)) for n in range(RUNS)]
        runs = [timed(lambda: peer.back(array)) for array in sent]
        correct = all(len(array) == len(one) and array[-1] == one[-1] for (_, array), one in zip(runs, sent))
    else:
        shared = numpy.arange(SHARED, dtype=numpy.float64)
        runs = [timed(lambda: peer.ends(shared, TAKERS)) for _ in range(RUNS)]
        correct = all(sums == [SHARED - 1.0] * TAKERS for _, sums in runs)
    return {"seconds": min(seconds for seconds, _ in runs), "answer": int(correct)}


def main(make: Callable[[], Peer]) -> None:
    peer = make()
    result = run(peer, sys.argv[1], sys.argv[2:])
    print(json.dumps(result), flush=True)
    peer.close()
