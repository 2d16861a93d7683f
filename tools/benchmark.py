"""Measures the speed of the library's parts: python tools/benchmark.py --what=pipeline --dataset=... --data_dir=..."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import flags
from flagging import config_from_flags, define, run

from glnet_tf.config import DataConfig

define(DataConfig)
flags.DEFINE_enum("what", "pipeline", ("pipeline",), "pipeline: snippets per second that reach the training")
flags.DEFINE_string("output", "", "JSON file for the figures; empty: only print")
flags.DEFINE_integer("repeats", 5, "measurements, of which the median counts", lower_bound=1)
flags.DEFINE_integer("batches", 40, "batches per measurement", lower_bound=1)
WARM_UP = 10


def main() -> None:
    data = config_from_flags(DataConfig)
    figures = pipeline_rates(data, flags.FLAGS.repeats, flags.FLAGS.batches)
    print(f"{'pipeline':10}{'snippets/s':>12}{'to raw':>8}   {data.image_width}x{data.image_height}, augmented")
    for name, rate in figures["snippets_per_second"].items():
        print(f"{name:10}{rate:12.1f}{figures['ratio_to_raw'][name]:8.2f}")
    if flags.FLAGS.output:
        from glnet_tf.training.checkpoints import write_text

        write_text(Path(flags.FLAGS.output), json.dumps({**dataclasses.asdict(data), **figures}, indent=2))


def pipeline_rates(data: DataConfig, repeats: int, batches: int) -> dict[str, dict[str, float]]:
    """Returns snippets per second from the data as it is, prepared to images and to records, and their ratios."""
    from glnet_tf.data.folder import FolderSource
    from glnet_tf.data.pipeline import stream
    from glnet_tf.data.prepare import prepare
    from glnet_tf.data.record_source import RecordsSource
    from glnet_tf.data.records import write_records
    from glnet_tf.data.sources import open_source

    data = dataclasses.replace(data, min_parallax=0.0)
    with tempfile.TemporaryDirectory() as folder:
        images, records = Path(folder) / "images", Path(folder) / "records"
        prepare(data, images)
        write_records(FolderSource(images, part="all", config=data), records)
        sources = {
            "raw": open_source(data, "all"),
            "prepared": FolderSource(images, part="all", config=data),
            "records": RecordsSource(records, part="all", config=data),
        }
        rates = {}
        for name, source in sources.items():
            iterator = iter(stream(source, data, seed=0))
            for _ in range(WARM_UP):
                next(iterator)
            seconds = []
            for _ in range(repeats):
                started = time.perf_counter()
                for _ in range(batches):
                    next(iterator)
                seconds.append(time.perf_counter() - started)
            rates[name] = batches * data.batch_size / float(np.median(seconds))
            # It reads ahead: once the folder is gone it would search for an intact image forever.
            del iterator
    return {"snippets_per_second": rates, "ratio_to_raw": {name: rate / rates["raw"] for name, rate in rates.items()}}


if __name__ == "__main__":
    run(main)
