"""The verification of a refinement on the rendered street: the truth explains a frame apart, a wrong depth does not."""

import numpy as np
import tensorflow as tf
from street_truth import true_scene

from glnet_tf.refinement.verification import verify


def test_the_truth_explains_the_frame_after_the_next_better_than_a_wrong_depth():
    scene = true_scene((64, 224))
    wave = tf.exp(0.5 * tf.sin(tf.linspace(0.0, 12.0, 224)))[:, tf.newaxis]
    wrong = scene.truth._replace(disparities=(scene.truth.disparities[0] * wave,))
    errors = verify(scene.images, wrong, scene.truth, 0.01)
    assert errors.final[0] < 0.8 * errors.initial[0]
    swapped = verify(scene.images, scene.truth, wrong, 0.01)
    np.testing.assert_allclose([swapped.initial, swapped.final], [errors.final, errors.initial], rtol=1e-6)


def test_it_looks_at_motion_too():
    scene = true_scene((64, 224))
    poses = scene.truth.poses.numpy()
    poses[..., :3, 3] *= 1.3
    errors = verify(scene.images, scene.truth, scene.truth._replace(poses=tf.constant(poses)), 0.01)
    assert errors.final[0] > 1.05 * errors.initial[0]


def test_a_region_that_is_explained_worse_keeps_its_predicted_depth():
    """The left half of the refined depth is wrong, the right half of the predicted one: each keeps its own."""
    scene = true_scene((96, 320))
    truth = scene.truth.disparities[0]
    wave = tf.exp(0.5 * tf.sin(tf.linspace(0.0, 20.0, 320)))[:, tf.newaxis]
    left = tf.cast(tf.range(320) < 160, tf.float32)[:, tf.newaxis]
    initial, final = (
        scene.truth._replace(disparities=(truth * (part * wave + 1 - part),)) for part in (1 - left, left)
    )
    found = verify(scene.images, initial, final, 0.01).disparity
    for frame in (0, 2):  # the middle frame of three is compared with none
        error = np.abs(np.log(found / truth))[0, frame, ..., 0]
        before, after = (np.abs(np.log(x.disparities[0] / truth))[0, frame, ..., 0] for x in (initial, final))
        for half, worse in ((np.s_[:, :110], after), (np.s_[:, 210:], before)):
            assert error[half].mean() < 0.5 * worse[half].mean()
    np.testing.assert_allclose(found[0, 1], final.disparities[0][0, 1], rtol=1e-6)
