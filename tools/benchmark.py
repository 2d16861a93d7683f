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

from glnet_tf.config import DataConfig, LossConfig, ModelConfig, RefinementConfig

define(DataConfig, LossConfig)
flags.DEFINE_enum(
    "what",
    "pipeline",
    ("pipeline", "refinement"),
    "pipeline: snippets per second that reach the training; refinement: seconds per iteration of PFT and OFT",
)
flags.DEFINE_string("output", "", "JSON file for the figures; empty: only print")
flags.DEFINE_integer("repeats", 5, "measurements, of which the median counts", lower_bound=1)
flags.DEFINE_integer("batches", 40, "batches per measurement", lower_bound=1)
WARM_UP = 10


def main() -> None:
    data = config_from_flags(DataConfig)
    repeats = flags.FLAGS.repeats
    if flags.FLAGS.what == "refinement":
        figures = refinement_times(data, config_from_flags(LossConfig), repeats)
        for name, value in figures.items():
            print(f"{name:40}{value:12.5g}")
    else:
        figures = pipeline_rates(data, repeats, flags.FLAGS.batches)
        print_pipeline(data, figures)
    if flags.FLAGS.output:
        from glnet_tf.training.checkpoints import write_text

        write_text(Path(flags.FLAGS.output), json.dumps({**dataclasses.asdict(data), **figures}, indent=2))


def print_pipeline(data: DataConfig, figures: dict[str, dict[str, float]]) -> None:
    print(f"{'pipeline':10}{'snippets/s':>12}{'to raw':>8}   {data.image_width}x{data.image_height}, augmented")
    for name, rate in figures["snippets_per_second"].items():
        print(f"{name:10}{rate:12.1f}{figures['ratio_to_raw'][name]:8.2f}")


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


def refinement_times(data: DataConfig, loss: LossConfig, repeats: int) -> dict[str, float]:
    """Returns seconds per snippet and iteration of OFT and PFT, and what OFT's iteration is made of.

    oft_kernels: the warps and SSIM of all levels and pairs, forward and gradient, and nothing else. oft_bytes: the time
    that OFT's least memory traffic takes at the speed of a copy: every input of a pair read twice (forward, gradient),
    every gradient written once, each variable and each of its moments and best values read and written once.
    """
    import tensorflow as tf

    from glnet_tf.data.pipeline import batches
    from glnet_tf.data.sources import open_source
    from glnet_tf.losses.objective import compare, image_pyramid
    from glnet_tf.refinement.outputs import corrected_predictions, start
    from glnet_tf.refinement.runner import Refiner, finest
    from glnet_tf.structures import SCALES
    from glnet_tf.training.checkpoints import Architecture

    count, height, width = data.batch_size, data.image_height, data.image_width
    model_config = ModelConfig(
        encoder="efficientnet_lite0", encoder_weights="imagenet", flow_net="matching", camera_net="solved",
        intrinsics="given",
    )  # fmt: skip
    street = dataclasses.replace(data, dataset="street", streets=1, street_frames=count + 2)
    source = open_source(street, "all")
    snippet = next(iter(batches(source, street)))
    model = Architecture(model_config, height, width, source.cameras, source.shapes).build()
    model.build_variables()

    def seconds(run, times: int) -> float:  # type: ignore[no-untyped-def]
        run()
        found = []
        for _ in range(times):
            started = time.perf_counter()
            run()
            found.append(time.perf_counter() - started)
        return float(np.median(found))

    def iteration(mode: str, few: int, many: int) -> float:
        """Seconds of one iteration: what more of them take, so that the networks' prediction does not count."""
        config = RefinementConfig(refine=mode, stall=0.0, iterations=many)
        refiner = Refiner(model, loss, config)
        longer = seconds(lambda: refiner(snippet), repeats)
        refiner.config = dataclasses.replace(config, iterations=few)
        if refiner._pft is not None:
            refiner._pft._config = refiner.config
        return (longer - seconds(lambda: refiner(snippet), repeats)) / (many - few)

    initial = finest(model(snippet))
    images = image_pyramid(snippet.images)

    @tf.function(autograph=False)
    def kernels():  # type: ignore[no-untyped-def]
        corrections = start(initial).corrections
        with tf.GradientTape() as tape:
            tape.watch(corrections)
            predictions = corrected_predictions(initial, corrections)
            pairs = [compare(images[level], predictions, level, loss.alpha) for level in range(SCALES)]
            total = sum(tf.reduce_sum(pair.rigid_distance) + tf.reduce_sum(pair.flow_distance) for pair in pairs)
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(total, corrections, unconnected_gradients=zero), total

    block = np.ones(32 * 2**20, np.float32)
    target = np.empty_like(block)
    bandwidth = 2 * block.nbytes / seconds(lambda: np.copyto(target, block), 5)
    pixels = height * width * 4 / 3  # of all levels
    # Per pixel of a pair: two images (6), two inverse depths, two flows (4): 12 read twice, and gradients of 6 written.
    traffic = 4 * pixels * (2 * 12 + 6) * 4
    # Per pixel of a frame or pair: variables, two moments, the best: read and written; 3 frames, 4 flows.
    traffic += height * width * (3 * 1 + 4 * 2) * (4 * 2) * 4
    figures = {
        "oft_iteration": iteration("oft", 2, 12) / count,
        "pft_iteration": iteration("pft", 2, 6) / count,
        "oft_kernels": seconds(kernels, repeats) / count,
        "oft_bytes": traffic / bandwidth,
    }
    return {
        **figures,
        "pft_over_oft": figures["pft_iteration"] / figures["oft_iteration"],
        "oft_over_kernels": figures["oft_iteration"] / figures["oft_kernels"],
        "oft_over_bytes": figures["oft_iteration"] / figures["oft_bytes"],
        "gigabytes_per_second": bandwidth / 1e9,
    }


if __name__ == "__main__":
    run(main)
