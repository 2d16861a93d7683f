"""Agreement of rigid flow and flow, by hand."""

import numpy as np
import tensorflow as tf

from glnet_tf.losses.agreement import agreement_loss


def test_mean_distance_over_visible_pixels():
    rigid, flow = tf.zeros([1, 1, 3, 2]), tf.constant([[[[3.0, 4.0], [0.0, 1.0], [9.0, 9.0]]]])
    visible = tf.constant([1.0, 1.0, 0.0])[tf.newaxis, tf.newaxis, :, tf.newaxis]
    np.testing.assert_allclose(agreement_loss(rigid, flow, visible), (5 + 1) / 2)
    assert agreement_loss(rigid, flow, 0 * visible) == 0


def test_the_flow_does_not_follow():
    rigid, flow = tf.Variable(tf.zeros([1, 2, 2, 2])), tf.Variable(tf.ones([1, 2, 2, 2]))
    with tf.GradientTape() as tape:
        loss = agreement_loss(rigid, flow, tf.ones([1, 2, 2, 1]))
    gradient, none = tape.gradient(loss, [rigid, flow])
    assert none is None
    # Towards the flow: along (1, 1), a quarter of a unit vector for each of four pixels.
    np.testing.assert_allclose(gradient, np.full((1, 2, 2, 2), -np.sqrt(0.5) / 4), rtol=1e-6)
