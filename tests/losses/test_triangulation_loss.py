"""Depth taught by triangulation: what counts, what does not, and where the gradient goes."""

import numpy as np
import tensorflow as tf
from scipy.spatial.transform import Rotation
from street_truth import true_scene

from glnet_tf.geometry.triangulation import Triangulation, triangulate
from glnet_tf.losses.objective import compare, taught_disparities
from glnet_tf.losses.triangulation import TEXTURE, Taught, taught_pyramid, triangulation_loss, triangulation_weight
from glnet_tf.structures import SCALES, Predictions


def column(*values):
    return tf.reshape(tf.constant(values, tf.float32), [1, 1, -1, 1])


def test_trust_grows_with_parallax_and_texture_and_falls_with_the_misfit():
    def trust(image, along=(1.0, 0.0)):
        found = Triangulation(
            disparity=column(1, 1, 1, 1, -1, 1),
            parallax=column(0, 1, 3, 3, -3, 3),
            misfit=column(0, 0, 0, 0.4, 0, 0),
            along=tf.broadcast_to(tf.constant(along), [1, 1, 6, 2]),
        )
        return triangulation_weight(found, column(1, 1, 1, 1, 1, 0), image)[0, 0, :4, 0]

    # Grey values that rise by a whole, by TEXTURE, and by nothing from pixel to pixel; the last pixel has no next one.
    ramp = tf.range(6, dtype=tf.float32)[tf.newaxis, tf.newaxis, :, tf.newaxis] * tf.ones([3])
    expected = np.array([0, 1 / 2, 9 / 10, 2.25 / 3.25])
    np.testing.assert_allclose(trust(ramp), expected, rtol=1e-3)
    np.testing.assert_allclose(trust(TEXTURE * ramp)[:3], expected[:3] / 2, rtol=1e-3)
    assert np.all(trust(0 * ramp) == 0) and np.all(trust(ramp, along=(0.0, 1.0)) == 0)


def test_one_factor_for_the_image_costs_nothing_and_shape_does():
    truth = column(0.1, 0.2, 0.4, 0.8)
    taught = Taught(tf.math.log(truth), column(1, 1, 0.5, 0))
    assert triangulation_loss(3 * truth, taught) < 1e-6
    # Log errors 0, 0, 1 with weights 1, 1, 1/2: their mean is 0.2, the deviations 0.2, 0.2, 0.8.
    bent = truth * tf.exp(column(0, 0, 1, 9))
    np.testing.assert_allclose(triangulation_loss(bent, taught), [(0.2 + 0.2 + 0.4) / 2.5], rtol=1e-5)
    nothing = Taught(tf.math.log(truth), column(0, 0, 0, 0))
    assert triangulation_loss(bent, nothing) == 0


def test_coarse_levels_learn_the_weighted_mean():
    along, image = tf.constant([1.0, 0.0]) * tf.ones([1, 8, 8, 1]), 9 * tf.random.stateless_normal([1, 8, 8, 3], (0, 0))
    found = Triangulation(tf.fill([1, 8, 8, 1], 0.5), tf.fill([1, 8, 8, 1], 1.0), tf.zeros([1, 8, 8, 1]), along)
    spoilt = found._replace(disparity=tf.tensor_scatter_nd_update(found.disparity, [[0, 0, 0, 0]], [-4.0]))
    levels = taught_pyramid(spoilt, tf.ones([1, 8, 8, 1]), image)
    assert len(levels) == SCALES
    assert levels[0].weight[0, 0, 0, 0] == 0
    for level, taught in enumerate(levels[1:], 1):
        np.testing.assert_allclose(taught.log_disparity, np.full(taught.weight.shape, np.log(0.5)), rtol=1e-6)
        np.testing.assert_allclose(taught.weight[0, 0, 0, 0], 0.5 * (1 - 1 / 4**level), rtol=1e-3)


def test_only_depth_learns():
    """Neither flow nor motion nor K gets a gradient, and that of depth is finite where nothing is known."""
    generator = np.random.default_rng(0)
    disparity = tf.Variable(generator.uniform(0.1, 1, (1, 3, 32, 64, 1)).astype(np.float32))
    flow = tf.Variable(generator.normal(0, 0.5, (1, 4, 32, 64, 2)).astype(np.float32))
    poses = np.tile(np.eye(4, dtype=np.float32), (1, 4, 1, 1))
    poses[..., 2, 3] = -0.5
    motion, camera = tf.Variable(poses), tf.Variable([[[40.0, 0, 31.5], [0, 40, 15.5], [0, 0, 1]]])
    with tf.GradientTape() as tape:
        images = tf.constant(generator.uniform(0, 1, (1, 3, 32, 64, 3)).astype(np.float32))
        taught = taught_disparities(images, Predictions((disparity,), (flow,), motion, camera))
        of_pairs = tf.reshape(tf.gather(disparity, (0, 1, 1, 2), axis=1), [4, 32, 64, 1])
        loss = triangulation_loss(of_pairs, taught[0])
    gradient, *none = tape.gradient(loss, [disparity, flow, motion, camera])
    assert none == [None] * 3
    assert np.all(np.isfinite(gradient)) and np.any(gradient.numpy() != 0)
    assert 0 < np.mean(taught[0].weight.numpy() > 0) < 1


def test_it_vanishes_at_the_truth_of_a_street_and_rises_with_every_error():
    scene = true_scene((64, 224))
    frames = tf.gather(scene.images[0], (0, 1, 1, 2))

    def loss(predictions):
        pair = compare(scene.images, predictions, 0, 0.85)
        found = triangulate(pair.flow, pair.intrinsics, pair.poses)
        disparity = tf.gather(predictions.disparities[0], (0, 1, 1, 2), axis=1)[0]
        return float(tf.reduce_mean(triangulation_loss(disparity, taught_pyramid(found, scene.static, frames)[0])))

    truth = scene.truth
    bent = tuple(
        d * tf.exp(0.1 * tf.cos(tf.range(d.shape[3], dtype=tf.float32)[:, tf.newaxis])) for d in truth.disparities
    )
    turned = truth.poses.numpy()
    turned[..., :3, 3] = turned[..., :3, 3] @ Rotation.from_euler("y", 10, degrees=True).as_matrix().T
    assert loss(truth) < 1e-3
    np.testing.assert_allclose(
        loss(truth._replace(disparities=tuple(2 * d for d in truth.disparities))), loss(truth), atol=1e-5
    )
    for wrong in ({"disparities": bent}, {"poses": tf.constant(turned)}, {"flows": (truth.flows[0] + [1.0, 0.0],)}):
        changed = truth._replace(**wrong)
        changed = changed._replace(flows=changed.flows + truth.flows[len(changed.flows) :])
        assert loss(changed) > 20 * loss(truth)


def test_its_gradient_is_the_numeric_one_and_zero_where_nothing_is_known():
    generator = np.random.default_rng(1)
    disparity, found, weight = (tf.constant(generator.uniform(0.2, 1, (1, 3, 4, 1))) for _ in range(3))
    taught = Taught(tf.math.log(found), weight)
    theoretical, numeric = tf.test.compute_gradient(lambda d: triangulation_loss(d, taught), [disparity], delta=1e-6)
    np.testing.assert_allclose(theoretical[0], numeric[0], atol=1e-7)
    with tf.GradientTape() as tape:
        tape.watch(disparity)
        nothing = triangulation_loss(disparity, taught._replace(weight=0 * weight))
    np.testing.assert_array_equal(tape.gradient(nothing, disparity), 0)
