"""Dask's distributed scheduler on this machine; word count with a bag, as in its documentation."""

from distributed import Client, LocalCluster

from cases import Peer, main


class Dask(Peer):
    def __init__(self) -> None:
        self.cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        self.client = Client(self.cluster)

    def call(self, function, argument):
        return self.client.submit(function, argument, pure=False).result()

    def map(self, function, arguments):
        return self.client.gather(self.client.map(function, list(arguments), pure=False))

    def words(self, folder):
        import dask.bag

        counts = dask.bag.read_text(f"{folder}/*").map(str.split).flatten().frequencies().compute()
        return [sum(n for _, n in counts), len(counts), max(n for _, n in counts)]

    def close(self):
        self.client.close()
        self.cluster.close()


if __name__ == "__main__":
    main(Dask)
