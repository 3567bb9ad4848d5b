"""Spark on this machine: RDDs for Python functions, DataFrames for word count and sort."""

import os

# Workers import the cases by name.
os.environ["PYTHONPATH"] = os.path.dirname(os.path.abspath(__file__))

from pyspark.sql import SparkSession, functions

from cases import Peer, main


class Spark(Peer):
    def __init__(self) -> None:
        settings = {
            "spark.driver.memory": "4g",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.log.level": "ERROR",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.sql.shuffle.partitions": "8",
        }
        builder = SparkSession.builder.master("local[2]").appName("compare")
        for key, value in settings.items():
            builder = builder.config(key, value)
        self.session = builder.getOrCreate()
        self.context = self.session.sparkContext

    def call(self, function, argument):
        return self.map(function, [argument])[0]

    def map(self, function, arguments):
        return self.context.parallelize(list(arguments)).map(function).collect()

    def words(self, folder):
        lines = self.session.read.text(folder)
        words = lines.select(functions.explode(functions.split("value", " ")).alias("word"))
        counts = words.groupBy("word").count()
        return list(counts.agg(functions.sum("count"), functions.count("*"), functions.max("count")).first())

    def sort(self, folder, out):
        # Records that end in CR LF are lines; the key is at their start.
        lines = self.session.read.option("lineSep", "\n").text(folder)
        key = functions.substring("value", 1, 10)
        lines.repartitionByRange(16, key).sortWithinPartitions(key).write.option("lineSep", "\n").text(out)
        return lines.count()

    def close(self):
        self.session.stop()


if __name__ == "__main__":
    main(Spark)
