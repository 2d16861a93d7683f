"""The verification of a refinement on the rendered street: the truth explains a frame apart, a wrong depth does not."""

import numpy as np
import tensorflow as tf
from street_truth import true_scene

from glnet_tf.refinement.verification import verify


def test_the_truth_explains_the_frame_after_the_next_better_than_a_wrong_depth():
    scene = true_scene((64, 224))
    wave = tf.exp(0.5 * tf.sin(tf.linspace(0.0, 12.0, 224)))[:, tf.newaxis]
    wrong = scene.truth._replace(disparities=(scene.truth.disparities[0] * wave,))
    errors = verify(scene.images, wrong, scene.truth, 0.85)
    assert errors.final[0] < 0.8 * errors.initial[0]
    swapped = verify(scene.images, scene.truth, wrong, 0.85)
    np.testing.assert_allclose([swapped.initial, swapped.final], [errors.final, errors.initial], rtol=1e-6)


def test_it_looks_at_motion_too():
    scene = true_scene((64, 224))
    poses = scene.truth.poses.numpy()
    poses[..., :3, 3] *= 1.3
    errors = verify(scene.images, scene.truth, scene.truth._replace(poses=tf.constant(poses)), 0.85)
    assert errors.final[0] > 1.05 * errors.initial[0]
