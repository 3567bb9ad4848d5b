"""multiprocessing.Pool, which splits a map into chunks itself."""

from multiprocessing import Pool

from cases import Peer, count_file, files, main, merged


class Multiprocessing(Peer):
    def __init__(self) -> None:
        self.pool = Pool(2)

    def call(self, function, argument):
        return self.pool.apply(function, (argument,))

    def map(self, function, arguments):
        return self.pool.map(function, arguments)

    def words(self, folder):
        return merged(self.pool.imap_unordered(count_file, files(folder)))

    def close(self):
        self.pool.terminate()


if __name__ == "__main__":
    main(Multiprocessing)
