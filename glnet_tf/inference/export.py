"""A trained model for serving: as a SavedModel that needs nothing but TensorFlow; its depth as TFLite or ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
import tensorflow as tf

from glnet_tf.config import LossConfig, RefinementConfig
from glnet_tf.errors import DataError
from glnet_tf.files import write_bytes
from glnet_tf.folders import new_folder
from glnet_tf.geometry.fast_ops import plain_operators
from glnet_tf.inference.snippets import assume_intrinsics
from glnet_tf.losses.objective import loss_weights
from glnet_tf.models.glnet import GLNet
from glnet_tf.models.levels import finest
from glnet_tf.models.observation import make_observe
from glnet_tf.models.sizes import STRIDE
from glnet_tf.refinement.oft import make_output_refinement
from glnet_tf.refinement.refiner import target, with_depth
from glnet_tf.structures import FRAMES, MIDDLE, Snippet

Outputs = dict[str, tf.Tensor]
ONNX_OPSET = 17


class Serving(tf.Module):
    """The signatures of an exported model; images are float32 RGB in [0, 1].

    depth: images [B, H, W, 3] -> disparity, depth [B, H, W, 1], up to scale.
    flow: images [B, 2, H, W, 3] -> flow, flow_backward [B, H, W, 2], pixels.
    camera: images [B, 2, H, W, 3], intrinsics [B, 3, 3] (zeros where unknown) -> pose [B, 4, 4] T from the first camera
      to the second, intrinsics [B, 3, 3].
    refine: images [B, 3, H, W, 3], intrinsics, iterations [] int32 -> of the middle frame after OFT: disparity, depth,
      flow to the next frame, poses [B, 2, 4, 4] from the frame before and to the next, intrinsics.

    Args:
      model: trained; its parameters become the module's.
      loss, config: of the refinement.
      free_size: take images of any size in multiples of STRIDE, instead of the model's own only.
    """

    def __init__(self, model: GLNet, loss: LossConfig, config: RefinementConfig, free_size: bool):
        super().__init__(name="glnet")
        # Not the model itself: for each of its layers Keras would trace and save graphs of its own.
        self.parameters = model.variables
        free = model.source_of_intrinsics in ("learned", "predicted")
        refine = make_output_refinement(loss_weights(loss, config.two_branch_weight), loss, config, free)
        height, width = (None, None) if free_size else model.image_size
        observe = make_observe(model)

        def images(*shape: int) -> tf.TensorSpec:
            return tf.TensorSpec([None, *shape, height, width, 3], tf.float32, name="images")

        def checked(images: tf.Tensor) -> tf.Tensor:
            if not free_size:
                return tf.ensure_shape(images, images.shape)
            with tf.control_dependencies(_assertions(images)):
                return tf.identity(images)

        intrinsics = tf.TensorSpec([None, 3, 3], tf.float32, name="intrinsics")
        iterations = tf.TensorSpec([], tf.int32, name="iterations")

        def depth(images: tf.Tensor) -> Outputs:
            disparity = model.depth_net(checked(images))[0]
            return {"disparity": disparity, "depth": 1 / disparity}

        def flow(images: tf.Tensor) -> Outputs:
            flows = model.flow_net(checked(images))[0]
            return {"flow": flows[:, 0], "flow_backward": flows[:, 1]}

        def camera(images: tf.Tensor, intrinsics: tf.Tensor) -> Outputs:
            predictions = model(_snippet(checked(images), intrinsics, model))
            return {"pose": predictions.poses[:, 0], "intrinsics": predictions.intrinsics}

        def refined(images: tf.Tensor, intrinsics: tf.Tensor, iterations: tf.Tensor) -> Outputs:
            snippet = _snippet(checked(images), intrinsics, model)
            seen = observe(snippet)
            start = finest(with_depth(seen.predictions, seen.fused))
            predictions, _, _ = refine(seen.snippet, start, target(seen.fused, seen.confidence), iterations)
            disparity = predictions.disparities[0][:, MIDDLE]
            return {
                "disparity": disparity,
                "depth": 1 / disparity,
                "flow": predictions.flows[0][:, MIDDLE],
                "poses": predictions.poses[:, : FRAMES - 1],
                "intrinsics": predictions.intrinsics,
            }

        def compiled(function: Callable[..., Outputs], *signature: tf.TensorSpec) -> Any:
            return tf.function(function, input_signature=signature, autograph=False)

        self.depth = compiled(depth, images())
        self.flow = compiled(flow, images(2))
        self.camera = compiled(camera, images(2), intrinsics)
        self.refine = compiled(refined, images(FRAMES), intrinsics, iterations)


def _assertions(images: tf.Tensor) -> list[tf.Operation]:
    size = tf.shape(images)[-3:-1]
    message = f"images: expected height and width in multiples of {STRIDE}; resize them, and K with them. Size:"
    return [tf.debugging.Assert(tf.reduce_all(size % STRIDE == 0), [message, size])]


def _snippet(images: tf.Tensor, intrinsics: tf.Tensor, model: GLNet) -> Snippet:
    """Images of a camera that the model never saw."""
    count = tf.shape(images)[0]
    snippet = Snippet(
        images=images,
        intrinsics=intrinsics,
        camera=tf.fill([count], -1),
        index=tf.zeros([count], tf.int64),
        mirrored=tf.fill([count], False),
    )
    return assume_intrinsics(snippet, model)


def export_saved_model(
    model: GLNet, loss: LossConfig, config: RefinementConfig, folder: Path, free_size: bool = False
) -> dict[str, float]:
    """Writes a SavedModel, whole or not at all, and compares it with the model.

    Args:
      model: trained.
      loss, config: of the signature `refine`.
      folder: it must not exist yet.
      free_size: see Serving.

    Returns:
      the largest difference of each output, relative to the output's largest value, between what was written and the
      model, on random images of the model's size; of refine after two iterations.

    Raises:
      DataError: the folder exists already.
    """
    if folder.exists():
        raise DataError(f"{folder}: exists already; remove it, or give another --output_dir")
    with new_folder(folder) as temporary:
        return _write_and_compare(model, loss, config, free_size, temporary)


def _write_and_compare(
    model: GLNet, loss: LossConfig, config: RefinementConfig, free_size: bool, folder: Path
) -> dict[str, float]:
    with plain_operators():
        serving = Serving(model, loss, config, free_size)
        names = ("depth", "flow", "camera", "refine")
        signatures = {name: getattr(serving, name).get_concrete_function() for name in names}
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(serving, str(folder), signatures, options)
    written = tf.saved_model.load(str(folder)).signatures
    differences = {}
    for name, inputs in _samples(model).items():
        # Not compiled: the model as it is, with its own sampling.
        ours, theirs = getattr(serving, name).python_function(**inputs), written[name](**inputs)
        for output, value in ours.items():
            differences[f"{name}/{output}"] = _difference(value, theirs[output])
    return differences


class ExportedDepth(NamedTuple):
    """A file with DepthNet.

    Attributes:
      file: its path.
      size: bytes.
      difference: the largest difference of its inverse depth from the model's, relative to the largest value.
    """

    file: Path
    size: int
    difference: float


def export_tflite(model: GLNet, folder: Path) -> list[ExportedDepth]:
    """Writes depth.tflite (float32) and depth_float16.tflite (weights in half precision): one image to inverse depth.

    Args:
      model: trained.
      folder: existing.
    """
    depth = _depth_of(model, batch=1)
    image = _samples(model)["depth"]["images"][:1]
    holder = tf.Module()
    holder.parameters = model.variables
    exported = []
    for name, types in (("depth.tflite", []), ("depth_float16.tflite", [tf.float16])):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([depth.get_concrete_function()], holder)
        if types:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = types
        content = converter.convert()
        interpreter = tf.lite.Interpreter(model_content=content)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        theirs = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        write_bytes(folder / name, content)
        exported.append(ExportedDepth(folder / name, len(content), _difference(depth(image), theirs)))
    return exported


def export_onnx(model: GLNet, folder: Path) -> list[ExportedDepth]:
    """Writes depth.onnx: images [B, H, W, 3] to inverse depth, any batch; checked in onnxruntime.

    Args:
      model: trained.
      folder: existing.

    Raises:
      DataError: tf2onnx or onnxruntime is not installed.
    """
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise DataError(
            f"--format=onnx: {error.name} is not installed; run pip install '.[export]' in the library's folder, with "
            "Python 3.11 or older: tf2onnx does not know newer TensorFlows"
        ) from None
    depth = _depth_of(model, batch=None)
    images = _samples(model)["depth"]["images"]
    content = tf2onnx.convert.from_function(depth, depth.input_signature, opset=ONNX_OPSET)[0].SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    theirs = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    write_bytes(folder / "depth.onnx", content)
    return [ExportedDepth(folder / "depth.onnx", len(content), _difference(depth(images), theirs))]


def _depth_of(model: GLNet, batch: int | None) -> Any:
    signature = [tf.TensorSpec([batch, *model.image_size, 3], tf.float32, name="images")]
    return tf.function(lambda images: model.depth_net(images)[0], input_signature=signature, autograph=False)


def _difference(ours: tf.Tensor, theirs: Any) -> float:
    return float(tf.reduce_max(tf.abs(ours - theirs)) / tf.reduce_max(tf.abs(ours)))


def _samples(model: GLNet) -> dict[str, dict[str, tf.Tensor]]:
    """Inputs of the signatures: two smooth random pictures that move by a pixel."""
    height, width = model.image_size
    noise = np.random.default_rng(0).uniform(size=(2, height // 8, width // 8, 3)).astype(np.float32)
    first = tf.clip_by_value(tf.image.resize(noise, (height, width), "bicubic"), 0, 1)
    pair = tf.stack([first, tf.roll(first, 1, axis=2)], axis=1)
    return {
        "depth": {"images": first},
        "flow": {"images": pair},
        "camera": {"images": pair, "intrinsics": tf.zeros([2, 3, 3])},
        "refine": {
            "images": tf.concat([pair, tf.roll(pair[:, 1:], 1, axis=3)], axis=1),
            "intrinsics": tf.zeros([2, 3, 3]),
            "iterations": tf.constant(2),
        },
    }
