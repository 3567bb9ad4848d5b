"""Ray on this machine: a task for each call, as in the introduction of its documentation; Ray has no chunks."""

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Workers import the cases by name.
os.environ["PYTHONPATH"] = os.path.dirname(os.path.abspath(__file__))

import numpy
import ray

from cases import Peer, main


@ray.remote
def floats(mib):
    return numpy.full((mib << 20) // 8, 0.5)


@ray.remote
def given(array):
    return array


@ray.remote
def two_of(array, at):
    return float(array[at] + array[-1 - at])


class Ray(Peer):
    def __init__(self) -> None:
        ray.init(num_cpus=2, logging_level="ERROR", include_dashboard=False)
        self.remote = {}

    def task(self, function):
        if function not in self.remote:
            self.remote[function] = ray.remote(lambda x: function(x))
        return self.remote[function]

    def call(self, function, argument):
        return ray.get(self.task(function).remote(argument))

    def map(self, function, arguments):
        task = self.task(function)
        return ray.get([task.remote(argument) for argument in arguments])

    def array(self, mib):
        return ray.get(floats.remote(mib))

    def back(self, array):
        return ray.get(given.remote(ray.put(array)))

    def ends(self, array, calls):
        once = ray.put(array)
        return ray.get([two_of.remote(once, at) for at in range(calls)])

    def close(self):
        ray.shutdown()


if __name__ == "__main__":
    main(Ray)
