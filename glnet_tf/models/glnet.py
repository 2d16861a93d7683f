"""GLNet: depth, flow, camera motion and intrinsics of a snippet (Chen, Schmid, Sminchisescu, ICCV 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

import tensorflow as tf
import tf_keras as keras

from glnet_tf.config import ModelConfig
from glnet_tf.geometry.camera import flip_intrinsics, focal_and_principal_point, intrinsics_from_field_of_view
from glnet_tf.geometry.motion import motion_from_flow
from glnet_tf.geometry.transform import inverse, pose_from_vector
from glnet_tf.models.camera_net import (
    CameraNet,
    camera_intrinsics,
    corrected,
    initial_parameters,
    intrinsics_from_parameters,
)
from glnet_tf.models.depth_net import DepthNet
from glnet_tf.models.flow.flow_net import FLOW_NETS
from glnet_tf.structures import Predictions, Snippet, dimension, height_and_width, merge, split

# (H, W) of images that are large enough for every layer.
SMALL = (64, 64)


class GLNet(keras.Model):
    """The three networks and, when K is learned, one K per camera.

    Args:
      config: of the networks; config.intrinsics must be decided ("auto" is resolved by the caller who knows the data).
      cameras: number of cameras in the training data, each with a K of its own when config.intrinsics is "learned".
      height, width: of the images; they only shape the start of the intrinsics.
      shapes: width over height of each camera's own images, before they were resized; None: as resized.
    """

    def __init__(
        self, config: ModelConfig, cameras: int, height: int, width: int, shapes: Sequence[float] | None = None
    ):
        super().__init__(name="glnet", dtype="float32")
        self.source_of_intrinsics = config.intrinsics
        self.field_of_view = config.field_of_view
        self.image_size = (height, width)
        initial = initial_parameters(config.field_of_view, height, width)
        self._shapes = tuple(shapes or [width / height] * cameras)
        self.depth_net = DepthNet(config)
        self.flow_net: keras.Model = FLOW_NETS[config.flow_net](config)
        self.camera_is_solved = config.camera_net == "solved"
        self.camera_sees_flow = config.flow_net != "stacked" or self.camera_is_solved
        self.camera_net = CameraNet(config.intrinsics == "predicted", initial, self.camera_is_solved)
        self.camera_parameters = (
            self.add_weight(
                name="camera_parameters",
                shape=(cameras, 4),
                initializer=lambda shape, dtype: tf.broadcast_to(tf.constant([initial[0], 0, 0, 0], dtype), shape),
            )
            if config.intrinsics == "learned"
            else None
        )

    def call(self, snippet: Snippet, training: bool = False, depth_size: tuple[int, int] | None = None) -> Predictions:
        """Returns depth of the frames, flow and motion of the ordered pairs, and K; of a snippet or a longer window.

        Args:
          snippet: at the size of flow, motion and K.
          training: whether statistics of batch normalisation learn.
          depth_size: (h, w) at which DepthNet sees the frames, and of the depth; None: as they are.
        """
        images = snippet.images
        motions = images.shape[1] - 1
        frames = merge(images) if depth_size is None else tf.image.resize(merge(images), depth_size, method="area")
        disparities = self.depth_net(frames, training=training)
        flows = self.flow_net(images, training=training)
        vectors, pair_parameters = self.camera_net(merge(self._seen_by_camera(images, flows[0])))
        intrinsics = self._intrinsics(snippet, pair_parameters)
        if self.camera_is_solved:
            forward, backward = merge(flows[0][:, :motions]), merge(flows[0][:, motions:])
            motion = motion_from_flow(forward, backward, tf.repeat(intrinsics, motions, axis=0))
            poses = corrected(motion.pose, motion.parallax, vectors)
        else:
            poses = pose_from_vector(vectors)
        return Predictions(
            disparities=tuple(split(x, images.shape[1]) for x in disparities),
            flows=flows,
            poses=both_ways(split(poses, motions)),
            intrinsics=intrinsics,
        )

    def build_variables(self) -> None:
        """Makes every variable, for a checkpoint or an optimizer that needs them before the first batch.

        Their shapes do not depend on the size of the images.
        """
        images = tf.zeros([1, 2, *SMALL, 3])
        self.depth_net(images[:, 0])
        flows = self.flow_net(images, forward_only=True)
        self.camera_net(merge(self._seen_by_camera(images, flows[0])))

    def variable_groups(self, rates: Sequence[float]) -> list[list[tf.Variable]]:
        """Returns the variables of DepthNet, FlowNet, CameraNet, and of the learned K; none where the rate is 0."""
        networks = (self.depth_net, self.flow_net, self.camera_net)
        intrinsics = [] if self.camera_parameters is None else [self.camera_parameters]
        groups = [*(network.trainable_variables for network in networks), intrinsics]
        return [variables if rate else [] for rate, variables in zip(rates, groups)]

    def _seen_by_camera(self, images: tf.Tensor, flow: tf.Tensor) -> tf.Tensor:
        """What CameraNet sees of the pairs in the order of time, [B, F - 1, H, W, C]."""
        if self.camera_sees_flow:
            # In hundredths of the width, so that it varies about one.
            return tf.stop_gradient(flow[:, : images.shape[1] - 1]) * 100 / tf.cast(dimension(flow, 3), tf.float32)
        return (tf.concat([images[:, :-1], images[:, 1:]], axis=-1) - 0.45) / 0.225

    def learned_intrinsics(self) -> tf.Tensor:
        """Returns the learned K of every camera, [C, 3, 3], in pixels of the images that the model was made for."""
        shapes = tf.constant(self._shapes)
        return self._learned_intrinsics(tf.range(len(self._shapes)), shapes, *self.image_size)

    def _learned_intrinsics(
        self, camera: tf.Tensor, shapes: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor
    ) -> tf.Tensor:
        known = tf.gather(self.camera_parameters, tf.maximum(camera, 0))
        unseen = tf.reduce_mean(self.camera_parameters, axis=0)
        return camera_intrinsics(tf.where(camera[:, tf.newaxis] >= 0, known, unseen), shapes, height, width)

    def _shapes_of(self, snippet: Snippet, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """Width over height of the cameras' own images, [B]; an unseen camera's follows from its snippet's K."""
        focal, _ = focal_and_principal_point(snippet.intrinsics)
        given = tf.math.divide_no_nan(focal[:, 1], focal[:, 0]) * tf.cast(width / height, tf.float32)
        unseen = tf.where(given > 0, given, tf.reduce_mean(tf.constant(self._shapes)))
        return tf.where(snippet.camera >= 0, tf.gather(self._shapes, tf.maximum(snippet.camera, 0)), unseen)

    def _intrinsics(self, snippet: Snippet, pair_parameters: tf.Tensor | None) -> tf.Tensor:
        height, width = height_and_width(snippet.images)
        if self.source_of_intrinsics == "given":
            return snippet.intrinsics
        if self.source_of_intrinsics == "fov":
            shapes = self._shapes_of(snippet, height, width)
            return intrinsics_from_field_of_view(self.field_of_view, height, width, shapes)
        if self.source_of_intrinsics == "learned":
            shapes = self._shapes_of(snippet, height, width)
            intrinsics = self._learned_intrinsics(snippet.camera, shapes, height, width)
            mirrored = flip_intrinsics(intrinsics, width)
            return tf.where(snippet.mirrored[:, tf.newaxis, tf.newaxis], mirrored, intrinsics)
        of_video = tf.reduce_mean(split(pair_parameters, snippet.images.shape[1] - 1), axis=1)
        return intrinsics_from_parameters(of_video, height, width)


def make_predict(model: GLNet, signature: Snippet) -> Callable[[Snippet], Predictions]:
    """Returns the model compiled for inference on batches of any size."""
    return tf.function(model, input_signature=[signature], autograph=False)


def both_ways(forward: tf.Tensor) -> tf.Tensor:
    """Returns the poses of the ordered pairs, [B, P, 4, 4], from those in the order of time, [B, F - 1, 4, 4].

    The motions of a pair and of its reverse are exact inverses (ours).
    """
    return tf.concat([forward, inverse(forward)], axis=1)
