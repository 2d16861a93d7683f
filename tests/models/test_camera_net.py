"""CameraNet's correction of a motion that geometry has solved."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras

from glnet_tf.config import ModelConfig
from glnet_tf.geometry.rigid import rigid_flow
from glnet_tf.geometry.transform import inverse, pose_from_vector
from glnet_tf.models.camera_net import POSE_UNIT, corrected
from glnet_tf.models.depth_net import START_DISPARITY
from glnet_tf.models.glnet import GLNet
from glnet_tf.structures import FRAMES, PAIRS, SCALES, Snippet

SOLVED = pose_from_vector(tf.constant([[0.0, 0.1, 0.0, 0.0, 0.6, -0.8]]))
SIZE = (64, 96)


def test_without_correction_the_median_depth_is_where_depth_net_starts():
    """A unit translation that implies inverse depth 0.2 grows to 0.2 / 0.5 where the start is 0.5."""
    pose = corrected(SOLVED, tf.constant([0.2]), tf.zeros([1, 6]))
    np.testing.assert_allclose(pose[:, :3, :3], SOLVED[:, :3, :3], atol=1e-6)
    np.testing.assert_allclose(pose[:, :3, 3], SOLVED[:, :3, 3] * 0.2 / START_DISPARITY, rtol=1e-6)


def test_a_correction_turns_after_the_solved_rotation_and_shifts_by_a_tenth_per_unit():
    vector = tf.constant([[0.02, 0.0, 0.0, POSE_UNIT, 0.0, 0.0]])
    pose = corrected(SOLVED, tf.constant([START_DISPARITY]), vector)
    turned = pose_from_vector(tf.pad(vector[:, :3], [[0, 0], [0, 3]]))[:, :3, :3] @ SOLVED[:, :3, :3]
    np.testing.assert_allclose(pose[:, :3, :3], turned, atol=1e-6)
    np.testing.assert_allclose(pose[0, :3, 3], [0.1, 0.6, -0.8], atol=1e-6)


class ExactFlow(keras.Model):
    """Stands in for FlowNet: the rigid flow of a camera that does the same motion twice, at every level."""

    MOTION = pose_from_vector(tf.constant([[0.01, -0.02, 0.0, 0.05, 0.0, -0.4]]))
    INTRINSICS = tf.constant([[[70.0, 0, 47.5], [0, 70.0, 31.5], [0, 0, 1]]])

    def call(self, images: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, ...]:
        depth = tf.constant(np.random.default_rng(0).uniform(3, 9, (1, *SIZE, 1)), tf.float32)
        there, back = (rigid_flow(depth, self.INTRINSICS, t) for t in (self.MOTION, inverse(self.MOTION)))
        flow = tf.stack([there if a < b else back for a, b in PAIRS], axis=1)
        return (flow,) * SCALES


def test_glnet_finds_the_motion_of_its_flow_in_every_pair():
    config = ModelConfig("efficientnet_lite0", "none", camera_net="solved", intrinsics="given")
    model = GLNet(config, 1, *SIZE)
    model.flow_net = ExactFlow()
    snippet = Snippet(
        images=tf.zeros([1, FRAMES, *SIZE, 3]),
        intrinsics=ExactFlow.INTRINSICS,
        camera=tf.zeros([1], tf.int32),
        index=tf.zeros([1], tf.int64),
        mirrored=tf.zeros([1], tf.bool),
    )
    model(snippet)
    model.camera_net.pose.set_weights([np.zeros_like(w) for w in model.camera_net.pose.get_weights()])
    for pose, (a, b) in zip(model(snippet).poses[0], PAIRS):
        truth = ExactFlow.MOTION[0] if a < b else inverse(ExactFlow.MOTION)[0]
        np.testing.assert_allclose(pose[:3, :3], truth[:3, :3], atol=1e-4)
        direction = pose[:3, 3] / tf.norm(pose[:3, 3])
        np.testing.assert_allclose(direction, truth[:3, 3] / tf.norm(truth[:3, 3]), atol=1e-3)
