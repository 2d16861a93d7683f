"""Depth that learns from triangulation: what counts, what does not, and where the gradient goes."""

import numpy as np
import tensorflow as tf
from scipy.spatial.transform import Rotation
from street_truth import true_scene

from glnet_tf.geometry.triangulation import Triangulation, triangulate
from glnet_tf.losses.objective import compare, triangulation_targets
from glnet_tf.losses.triangulation import (
    NOISE,
    TEXTURE,
    TriangulationTarget,
    target_pyramid,
    triangulation_loss,
    triangulation_weight,
)
from glnet_tf.structures import SCALES, Predictions


def column(*values):
    return tf.reshape(tf.constant(values, tf.float32), [1, 1, -1, 1])


def test_trust_grows_with_texture_and_falls_with_the_misfit():
    def trust(image, along=(1.0, 0.0)):
        found = Triangulation(
            parallax=column(0, 3, -3, 3, 3, 3),
            slope=column(1, 1, 1, 1, 1, 1),
            misfit=column(0, 0, 0, 0.4, 0, 0),
            along=tf.broadcast_to(tf.constant(along), [1, 1, 6, 2]),
        )
        return triangulation_weight(found, column(1, 1, 1, 1, 0, 1), image)[0, 0, :5, 0]

    # Grey values that rise by a whole, by TEXTURE, and by nothing from pixel to pixel; the last pixel has no next one.
    ramp = tf.range(6, dtype=tf.float32)[tf.newaxis, tf.newaxis, :, tf.newaxis] * tf.ones([3])
    expected = np.array([1, 1, 1, 1 / 4, 0])
    np.testing.assert_allclose(trust(ramp), expected, rtol=1e-3)
    np.testing.assert_allclose(trust(TEXTURE * ramp)[:3], expected[:3] / 2, rtol=1e-3)
    assert np.all(trust(0 * ramp) == 0) and np.all(trust(ramp, along=(0.0, 1.0)) == 0)


def test_one_factor_for_the_image_costs_nothing_and_shape_does():
    parallax, slope = column(2, 4, 8, -1), column(20, 10, 40, 10)
    target = TriangulationTarget(parallax, slope, column(1, 1, 0.5, 0))
    truth = parallax / slope
    assert triangulation_loss(3 * truth, target) < 1e-6
    # What moves the predicted parallax of the last pixel that counts from 8 to 12; the factor by least squares.
    bent = truth * column(1, 1, 1.5, 9)
    relative = np.array([1, 1, 0.5]) / (NOISE + np.array([2, 4, 8])) ** 2
    predicted, found = np.array([2, 4, 12]), np.array([2, 4, 8])
    predicted = predicted * np.sum(relative * predicted * found) / np.sum(relative * predicted**2)
    expected = np.sum([1, 1, 0.5] * np.abs(predicted - found) / (NOISE + predicted)) / 2.5
    np.testing.assert_allclose(triangulation_loss(bent, target), [expected], rtol=1e-5)
    assert triangulation_loss(bent, target._replace(weight=column(0, 0, 0, 0))) == 0


def test_noise_of_the_flow_does_not_bring_closer_what_is_far():
    """Half of the matches are near, the parallax of the others, 0.2 pixels, is less than the noise, 0.5."""
    generator = np.random.default_rng(0)
    truth = np.where(np.arange(4000) % 2, 0.2, 0.004)
    noisy = 50 * truth + generator.normal(0, 0.5, truth.shape)
    target = TriangulationTarget(column(*noisy), column(*np.full(truth.shape, 50.0)), column(*np.ones(truth.shape)))

    def pull(far):
        disparity = tf.Variable(column(*np.where(np.arange(4000) % 2, 0.2, far)))
        with tf.GradientTape() as tape:
            loss = triangulation_loss(disparity, target)
        return tf.reduce_sum(tape.gradient(loss, disparity)[0, 0, ::2, 0])

    assert pull(0.0034) < 0 < pull(0.0046)


def test_coarse_levels_learn_the_weighted_mean():
    along, image = tf.constant([1.0, 0.0]) * tf.ones([1, 8, 8, 1]), 9 * tf.random.stateless_normal([1, 8, 8, 3], (0, 0))
    # One pixel of the first four has another parallax, and one without weight a third.
    values = np.full((1, 8, 8, 1), 0.5, np.float32)
    values[0, 0, 1], values[0, 0, 0] = 2.5, 100.0
    found = Triangulation(tf.constant(values), tf.fill([1, 8, 8, 1], 4.0), tf.zeros([1, 8, 8, 1]), along)
    visible = tf.tensor_scatter_nd_update(tf.ones([1, 8, 8, 1]), [[0, 0, 0, 0]], [0.0])
    levels = target_pyramid(found, visible, image)
    assert len(levels) == SCALES
    assert levels[0].weight[0, 0, 0, 0] == 0
    for level, target in enumerate(levels[1:], 1):
        seen = 4**level - 1
        np.testing.assert_allclose(target.parallax[0, 0, 0, 0], (0.5 * (seen - 1) + 2.5) / seen, rtol=1e-3)
        np.testing.assert_allclose(
            target.parallax[0, -1, -1, 0], 0.5 if level < 3 else (0.5 * 62 + 2.5) / 63, rtol=1e-3
        )
        np.testing.assert_allclose(target.slope, np.full(target.weight.shape, 4.0), rtol=1e-6)
        np.testing.assert_allclose(target.weight[0, 0, 0, 0], seen / 4**level, rtol=1e-3)


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
        target = triangulation_targets(images, Predictions((disparity,), (flow,), motion, camera))
        of_pairs = tf.reshape(tf.gather(disparity, (0, 1, 1, 2), axis=1), [4, 32, 64, 1])
        loss = triangulation_loss(of_pairs, target[0])
    gradient, *none = tape.gradient(loss, [disparity, flow, motion, camera])
    assert none == [None] * 3
    assert np.all(np.isfinite(gradient)) and np.any(gradient.numpy() != 0)
    assert 0 < np.mean(target[0].weight.numpy() > 0) < 1


def test_it_vanishes_at_the_truth_of_a_street_and_rises_with_every_error():
    scene = true_scene((64, 224))
    frames = tf.gather(scene.images[0], (0, 1, 1, 2))

    def loss(predictions):
        pair = compare(scene.images, predictions, 0)
        found = triangulate(pair.by_flow.flow, pair.intrinsics, pair.poses)
        disparity = tf.gather(predictions.disparities[0], (0, 1, 1, 2), axis=1)[0]
        return float(tf.reduce_mean(triangulation_loss(disparity, target_pyramid(found, scene.static, frames)[0])))

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


def test_its_gradient_holds_the_denominator_and_is_zero_where_nothing_is_known():
    generator = np.random.default_rng(1)
    disparity, parallax, slope, weight = generator.uniform(0.2, 3, (4, 1, 3, 4, 1))
    target = TriangulationTarget(*(tf.constant(x) for x in (parallax, slope, weight)))

    def predicted(values):
        relative = weight / (NOISE + parallax) ** 2
        return slope * values * np.sum(relative * slope * values * parallax) / np.sum(relative * (slope * values) ** 2)

    def loss(values):
        error = np.abs(predicted(values) - parallax) / (NOISE + predicted(disparity))
        return np.sum(weight * error) / np.sum(weight)

    def changed(i, by):
        values = disparity.copy()
        values.flat[i] += by
        return values

    numeric = [(loss(changed(i, 1e-6)) - loss(changed(i, -1e-6))) / 2e-6 for i in range(disparity.size)]
    variable = tf.Variable(disparity)
    with tf.GradientTape(persistent=True) as tape:
        value = triangulation_loss(variable, target)
        nothing = triangulation_loss(variable, target._replace(weight=0 * target.weight))
    np.testing.assert_allclose(value, [loss(disparity)], rtol=1e-10)
    np.testing.assert_allclose(tape.gradient(value, variable).numpy().ravel(), numeric, atol=1e-7)
    np.testing.assert_array_equal(tape.gradient(nothing, variable), 0)
