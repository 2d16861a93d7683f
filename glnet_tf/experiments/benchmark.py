"""How fast the library is on this machine: every figure is measured beside the reference that it is divided by.

Times of work on a GPU wait until it is done.
"""

from __future__ import annotations

import collections
import dataclasses
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

from glnet_tf.config import DataConfig, LossConfig, ModelConfig, RefinementConfig, StreetConfig, TrainingConfig
from glnet_tf.data.datasets.folder import FolderSource
from glnet_tf.data.datasets.records import RecordsSource
from glnet_tf.data.files.records import write_records
from glnet_tf.data.pipeline import batches, stream
from glnet_tf.data.preparation.prepare import prepare
from glnet_tf.data.source import Source
from glnet_tf.data.sources import open_source
from glnet_tf.geometry.evidence import Evidence
from glnet_tf.losses.objective import compare, compare_by_flow, image_pyramid, loss_weights, objective
from glnet_tf.models.glnet import GLNet
from glnet_tf.models.levels import finest, flow_levels
from glnet_tf.optimization import make_optimizers
from glnet_tf.refinement.oft import corrected_predictions, start
from glnet_tf.refinement.refiner import Refiner
from glnet_tf.structures import SCALES, LossReport, Predictions, Snippet, merge, snippet_signature
from glnet_tf.training.checkpoints import Architecture
from glnet_tf.training.depth_trainer import make_depth_step
from glnet_tf.training.step import make_train_step, rates, training_optimizers
from glnet_tf.training.trainer import resolved_config
from glnet_tf.visualization.pictures import write_png

Run = Callable[..., Any]

WARM_UP = 10  # batches of a pipeline
# Height, width and snippets of the training steps to which a line is fitted.
SIZES = ((64, 224, 4), (96, 320, 4), (128, 416, 1), (128, 416, 2), (128, 416, 4))
IMAGE_SIZES = ((128, 416), (192, 640))
TOOLS = Path(__file__).resolve().parents[2] / "tools"


def interleaved(runs: dict[str, Run], repeats: int) -> dict[str, float]:
    """Returns the median seconds of each; they take turns, so that what disturbs the machine disturbs all of them."""
    for run in runs.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            tf.test.experimental.sync_devices()
            found[name].append(time.perf_counter() - started)
    return {name: float(np.median(seconds)) for name, seconds in found.items()}


def graph_operations(run: Run) -> collections.Counter[str]:
    """Returns how many operations of each kind the largest graph of a call holds, after TensorFlow has optimised it.

    Args:
      run: makes the first call of a compiled function; later calls find the graph made.
    """
    context.context().enable_graph_collection()
    try:
        run()
        graphs = [found.post_optimization_graph for found in context.context().export_run_metadata().function_graphs]
    finally:
        context.context().disable_graph_collection()

    def operations(graph: Any) -> collections.Counter[str]:
        bodies = (graph.node, *(function.node_def for function in graph.library.function))
        return collections.Counter(node.op for body in bodies for node in body)

    return max(map(operations, graphs), key=lambda found: sum(found.values()))


def street_batch(model: ModelConfig, data: DataConfig) -> tuple[GLNet, Snippet]:
    """Returns a model and one batch of rendered street for it."""
    street = dataclasses.replace(
        data, dataset="street", street=StreetConfig(streets=1, street_frames=data.batch_size + 2)
    )
    source = open_source(street, "all")
    config = resolved_config(model, source)
    built = Architecture(config, data.image_height, data.image_width, source.cameras, source.shapes).build()
    built.build_variables()
    return built, next(iter(batches(source, street)))


def networks_only(network: Callable[..., Any], variables: list[tf.Variable]) -> Run:
    """Returns a network's forward pass and its gradient by the variables: that of the sum of its outputs."""

    def run(given: Any) -> tuple[Any, list[tf.Tensor]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            outputs = network(given, training=True)
            total = tf.add_n([tf.reduce_sum(x) for x in tf.nest.flatten(outputs)])
        return outputs, tape.gradient(total, variables)

    return tf.function(run, autograph=False)


def losses_only(loss: LossConfig, term: str | None = None) -> Run:
    """Returns the objective, or one of its terms, and its gradient with respect to the predictions."""
    weights = loss_weights(loss, two_branch=1.0)

    def run(snippet: Snippet, predictions: Predictions) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(predictions)
            total, report = objective(snippet, predictions, weights, loss)
            differentiated = getattr(report, term) if term else total
        return [x for x in tf.nest.flatten(tape.gradient(differentiated, predictions)) if x is not None]

    return tf.function(run, autograph=False)


def training_rates(model: ModelConfig) -> TrainingConfig:
    """Returns which networks learn: all of them as published; where the camera is solved, DepthNet alone."""
    rate = float(model.camera_net == "regressed")
    return TrainingConfig(flow_rate=rate, camera_rate=rate)


def train_step(
    glnet: GLNet, model: ModelConfig, data: DataConfig, loss: LossConfig
) -> tuple[Callable[[Snippet], Any], list[tf.Variable]]:
    """Returns the step on the objective, and the variables that it changes."""
    training = training_rates(model)
    weights = loss_weights(loss, two_branch=1.0, made=lambda x: tf.Variable(x, trainable=False))
    step = make_train_step(
        glnet,
        training_optimizers(glnet, training),
        weights,
        loss,
        training,
        snippet_signature(data.image_height, data.image_width, count=data.batch_size),
    )
    return step, sum(glnet.variable_groups(rates(training)), [])


def depth_step(glnet: GLNet, images: tf.Tensor) -> Run:
    """Returns the step on what a teacher's flow proves about images, [N, H, W, 3]."""
    maps = tf.random.uniform([*images.shape[:-1], 1], 0.1, 1.0)
    optimizers = make_optimizers([1e-4], [glnet.depth_net.trainable_variables])
    return partial(make_depth_step(glnet, optimizers, smoothness=0.02), images, Evidence(tf.math.log(maps), maps))


def training_times(model: ModelConfig, data: DataConfig, loss: LossConfig, repeats: int) -> dict[str, float]:
    """Returns seconds of a step on the objective, of its networks and its losses alone, and of a step on evidence about
    the same frames, and DepthNet alone."""
    glnet, snippet = street_batch(model, data)
    images, predictions = merge(snippet.images), glnet(snippet)
    step, variables = train_step(glnet, model, data, loss)
    runs: dict[str, Run] = {
        "step": partial(step, snippet),
        "networks": partial(networks_only(glnet, variables), snippet),
        "losses": partial(losses_only(loss), snippet, predictions),
        "depth_step": depth_step(glnet, images),
        "depth_network": partial(networks_only(glnet.depth_net, glnet.depth_net.trainable_variables), images),
    }
    return interleaved(runs, repeats)


def first_times(model: ModelConfig, data: DataConfig, loss: LossConfig) -> dict[str, Any]:
    """Returns seconds until the first step and the operations of its graph, on the objective and on evidence; and from
    the shell until the whole library is imported, and three frames are predicted, and refined by OFT."""
    glnet, snippet = street_batch(model, data)
    step, _ = train_step(glnet, model, data, loss)
    found: dict[str, Any] = {}
    runs: dict[str, Run] = {"step": partial(step, snippet), "depth_step": depth_step(glnet, merge(snippet.images))}
    for name, run in runs.items():
        started = time.perf_counter()
        operations = graph_operations(run)
        found[name] = {"seconds": time.perf_counter() - started, "operations": sum(operations.values())}
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames"
        frames.mkdir()
        for number, image in enumerate(snippet.images[0].numpy()):
            write_png(frames / f"{number}.png", (255 * image).astype(np.uint8))
        predict = [str(TOOLS / "predict.py"), f"--input={frames}", f"--output_dir={folder}/out"]
        commands = {
            "import": ["-c", "import glnet_tf.inference.predictor"],
            "predict": [*predict, "--weights=street-lite"],
            "refine": [*predict[:-1], f"--output_dir={folder}/refined", "--weights=street-lite", "--refine=oft"],
        }
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            found[name] = {"seconds": time.perf_counter() - started}
    return found


def loss_times(model: ModelConfig, data: DataConfig, loss: LossConfig, repeats: int) -> dict[str, float]:
    """Returns seconds of all losses, and of each by itself, with the warps and distances that it stands on."""
    glnet, snippet = street_batch(model, data)
    predictions = glnet(snippet)
    terms = {"all": None, **{name: name for name in LossReport._fields if name != "evidence"}}
    return interleaved(
        {name: partial(losses_only(loss, of), snippet, predictions) for name, of in terms.items()}, repeats
    )


def scaling(model: ModelConfig, data: DataConfig, loss: LossConfig, repeats: int) -> dict[str, Any]:
    """Returns seconds of a training step of all networks at several sizes, and the line in pixels that fits them best.

    Returns:
      seconds: one for each of SIZES; per_megapixel and fixed: of the line; largest_deviation: from it, relative.
    """
    training = TrainingConfig(flow_rate=1, camera_rate=1)
    weights = loss_weights(loss, two_branch=1.0, made=lambda x: tf.Variable(x, trainable=False))
    batch_of = {}
    for height, width, count in SIZES:
        sized = dataclasses.replace(data, image_height=height, image_width=width, batch_size=count)
        glnet, batch_of[f"{count}x{height}x{width}"] = street_batch(model, sized)
    step = make_train_step(
        glnet, training_optimizers(glnet, training), weights, loss, training, snippet_signature(None, None)
    )
    seconds = interleaved({name: partial(step, batch) for name, batch in batch_of.items()}, repeats)
    pixels = np.array([height * width * count for height, width, count in SIZES]) / 1e6
    measured = np.array(list(seconds.values()))
    slope, fixed = np.polyfit(pixels, measured, 1)
    line = fixed + slope * pixels
    return {
        "seconds": seconds,
        "per_megapixel": float(slope),
        "fixed": float(fixed),
        "largest_deviation": float(np.max(np.abs(measured - line) / line)),
    }


def inference_times(model: ModelConfig, data: DataConfig, repeats: int) -> dict[str, float]:
    """Returns seconds per image of DepthNet, and per snippet of all networks, at each of IMAGE_SIZES, and of all
    networks on a window of 8 frames at the first."""
    glnet, _ = street_batch(model, data)
    depth = tf.function(lambda images: glnet.depth_net(images)[0], autograph=False)
    everything = tf.function(glnet, input_signature=[snippet_signature(None, None)], autograph=False)
    window = tf.function(glnet, autograph=False)
    runs: dict[str, Run] = {}
    for height, width in IMAGE_SIZES:
        _, snippet = street_batch(
            model, dataclasses.replace(data, image_height=height, image_width=width, batch_size=1)
        )
        runs[f"depth_{height}x{width}"] = partial(depth, snippet.images[:, 1])
        runs[f"all_{height}x{width}"] = partial(everything, snippet)
        runs.setdefault("window_of_8", partial(window, snippet._replace(images=tf.repeat(snippet.images, 4, 1)[:, :8])))
    return interleaved(runs, repeats)


def kernels_of(model: GLNet, snippet: Snippet, free_flow: bool) -> Run:
    """Returns the warps and SSIM of all levels and pairs, forward and gradient, and nothing else of OFT: of rigid
    correspondences, and of flow where that is free, too."""
    initial = finest(model(snippet))
    images = image_pyramid(snippet.images)
    by_flow = [compare_by_flow(x, *row) for x, *row in zip(images, flow_levels(initial.flows[0]), range(SCALES))]

    def run() -> tuple[Any, tf.Tensor]:
        corrections = start(initial, free_flow).corrections
        with tf.GradientTape() as tape:
            tape.watch(corrections)
            predictions = corrected_predictions(initial, corrections)
            pairs = [
                compare(images[level], predictions, level, None if free_flow else by_flow[level])
                for level in range(SCALES)
            ]
            total = sum(tf.reduce_sum(pair.rigid_distance) for pair in pairs)
            if free_flow:
                total += sum(tf.reduce_sum(pair.by_flow.distance) for pair in pairs)
        return tape.gradient(total, corrections, unconnected_gradients=tf.UnconnectedGradients.ZERO), total

    return tf.function(run, autograph=False)


def refinement_times(data: DataConfig, loss: LossConfig, repeats: int) -> dict[str, float]:
    """Returns seconds per snippet and iteration of OFT and PFT, and what OFT's iteration is made of.

    oft_kernels: see kernels_of; kernels_of_both: with those of flow. oft_bytes: the time that OFT's least memory
    traffic takes at the speed of a copy: every input of a pair read twice (forward, gradient), every gradient written
    once, each variable and each of its moments and best values read and written once.
    """
    count, height, width = data.batch_size, data.image_height, data.image_width
    model, snippet = street_batch(ModelConfig(), data)

    def iteration(mode: str, few: int, many: int) -> float:
        """Seconds of one iteration: what more of them take, so that the networks' prediction does not count."""
        config = RefinementConfig(refine=mode, stall=0.0, iterations=many)
        refiner = Refiner(model, loss, config)

        def refined(iterations: int) -> None:
            refiner.config = dataclasses.replace(config, iterations=iterations)
            if refiner._pft is not None:
                refiner._pft._config = refiner.config
            refiner(snippet)

        taken = interleaved({"few": partial(refined, few), "many": partial(refined, many)}, repeats)
        return (taken["many"] - taken["few"]) / (many - few)

    kernels = {name: kernels_of(model, snippet, free) for name, free in (("kernels", False), ("both", True))}
    block = np.ones(32 * 2**20, np.float32)
    target = np.empty_like(block)
    taken = interleaved({**kernels, "copy": partial(np.copyto, target, block)}, repeats)
    bandwidth = 2 * block.nbytes / taken["copy"]
    pixels = height * width * 4 / 3  # of all levels
    # Per pixel of a pair: two images (6), two inverse depths, two flows (4): 12 read twice, and gradients of 2 written.
    traffic = 4 * pixels * (2 * 12 + 2) * 4
    # Per pixel of 3 frames: variables, two moments, the best: read and written.
    traffic += height * width * 3 * (4 * 2) * 4
    return {
        "oft_iteration": iteration("oft", 2, 12) / count,
        "pft_iteration": iteration("pft", 2, 6) / count,
        "oft_kernels": taken["kernels"] / count,
        "kernels_of_both": taken["both"] / count,
        "oft_bytes": traffic / bandwidth,
        "gigabytes_per_second": bandwidth / 1e9,
    }


def pipeline_rates(data: DataConfig, repeats: int, count: int) -> dict[str, float]:
    """Returns snippets per second from the data as it is, and prepared to images and to records.

    Args:
      data: what is read.
      repeats: measurements, of which the median counts.
      count: batches in a measurement.
    """
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
        # Each stream lives no longer than its measurement: it reads ahead, and without the folder would search forever.
        return {name: _rate(source, data, repeats, count) for name, source in sources.items()}


def _rate(source: Source, data: DataConfig, repeats: int, count: int) -> float:
    iterator = iter(stream(source, data, seed=0))

    def read(batches: int) -> None:
        for _ in range(batches):
            next(iterator)

    read(WARM_UP)
    return count * data.batch_size / interleaved({"read": partial(read, count)}, repeats)["read"]
