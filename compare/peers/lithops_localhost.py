"""Lithops on this machine, whose processes import the cases by name."""

import os
import sys

os.environ["PYTHONPATH"] = os.path.dirname(os.path.abspath(__file__))

import lithops

from cases import Peer, count_file, files, main, merged

CONFIG = {
    # By default, Lithops refuses more than 4 MiB of arguments; the case `payload` needs more.
    "lithops": {"backend": "localhost", "storage": "localhost", "log_level": None, "telemetry": False, "data_limit": 2048},
    # Without a runtime, Lithops uses the first `python` on the PATH.
    "localhost": {"version": 1, "worker_processes": 2, "runtime": sys.executable},
}


class Lithops(Peer):
    def __init__(self) -> None:
        self.executor = lithops.FunctionExecutor(config=CONFIG)

    def call(self, function, argument):
        return self.executor.get_result(self.executor.call_async(function, argument))

    def map(self, function, arguments):
        return self.executor.get_result(self.executor.map(function, list(arguments)))

    def words(self, folder):
        self.executor.map_reduce(count_file, files(folder), merged)
        return self.executor.get_result()

    def close(self):
        self.executor.clean()


if __name__ == "__main__":
    main(Lithops)
