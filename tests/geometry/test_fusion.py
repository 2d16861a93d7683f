"""Fusion of the network's depth with evidence, and of flow with rigid flow."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.geometry import fusion
from glnet_tf.geometry.evidence import Evidence, with_ground
from glnet_tf.geometry.fusion import Fusion, fused_flow


def fused(network: tf.Tensor, found: Evidence, own_weight: tf.Tensor | None = None) -> Fusion:
    return fusion.fused(network, found, tf.zeros_like(network) if own_weight is None else own_weight)


SIZES = pytest.mark.parametrize("size", [(64, 192), (70, 150)])


def wave(size: tuple[int, int]) -> np.ndarray:
    """[1, H, W, 1] log factors from -0.3 to 0.3, a wave over the image."""
    y, x = np.mgrid[: size[0], : size[1]]
    return np.float32(0.3 * np.sin(2 * np.pi * x / size[1]) * np.cos(np.pi * y / size[0]))[np.newaxis, ..., np.newaxis]


def truth(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).uniform(-4, 0, (1, *size, 1)).astype(np.float32)


@SIZES
def test_without_evidence_depth_is_the_networks(size):
    network = truth(size)
    result = fused(tf.constant(network), Evidence(tf.constant(network + 1), tf.zeros_like(network)))
    np.testing.assert_array_equal(result.log_disparity, network)
    np.testing.assert_array_equal(result.confidence, 0)


@SIZES
def test_evidence_everywhere_replaces_a_wrong_depth(size):
    result = fused(tf.constant(truth(size) + wave(size)), Evidence(tf.constant(truth(size)), tf.ones([1, *size, 1])))
    assert np.max(np.abs(result.log_disparity - truth(size))) < 0.03
    assert np.min(result.confidence) > 0.8 and np.max(result.confidence) <= 1


@SIZES
def test_one_pixel_in_ten_corrects_a_smooth_error(size):
    there = (np.random.default_rng(1).random((1, *size, 1)) < 0.1).astype(np.float32)
    result = fused(tf.constant(truth(size) + wave(size)), Evidence(tf.constant(truth(size)), tf.constant(there)))
    error = np.abs(result.log_disparity - truth(size))
    assert np.mean(np.abs(wave(size))) > 0.1
    assert np.mean(error) < 0.03


def test_evidence_is_believed_by_its_weight_and_the_nearest_most():
    size, weight = (64, 192), np.zeros((1, 64, 192, 1), np.float32)
    weight[0, 30, 40] = weight[0, 30, 150] = 1
    factor = np.where(np.arange(192) < 96, 0.2, -0.2).reshape(1, 1, 192, 1).astype(np.float32) + 0 * weight
    network = tf.zeros([1, *size, 1])
    ratio, sure = (x[0, 30, :, 0].numpy() for x in fused(network, Evidence(tf.constant(factor), tf.constant(weight))))
    np.testing.assert_allclose(ratio[[40, 150]], [0.2, -0.2], rtol=0.05)
    assert 0 < ratio[60] < ratio[41] and ratio[170] < 0 and sure[40] > 0.3 > 0.05 > sure[60] > sure[95]


def test_what_stands_on_the_ground_keeps_its_depth():
    """A road that flow proves ahead only, and on its bare part something twice as near as the road behind it."""
    y, x = np.mgrid[:96, :320]
    intrinsics = np.float32([[[185, 0, 159.5], [0, 185, 47.5], [0, 0, 1]]])
    road = np.log(np.maximum((y - 47.5) / 185 / 1.6, 1e-2))
    obstacle = (y > 68) & (y < 94) & (abs(x - 160) < 15)
    network = road + 0.05 * (y > 60) + np.log(2) * obstacle
    network, known = (tf.constant(m[np.newaxis, ..., np.newaxis], tf.float32) for m in (network, (y > 53) & (y < 68)))
    found = Evidence(tf.where(known > 0, tf.constant(road[np.newaxis, ..., np.newaxis], tf.float32), network), known)
    found, own_weight, _ = with_ground(found, network, intrinsics)
    result = fused(network, found, own_weight)
    change, sure = (x.numpy()[0, ..., 0] for x in (result.log_disparity - network, result.confidence))
    np.testing.assert_allclose(change[80:90, 60:100], -0.05, atol=0.01)  # the road is corrected
    np.testing.assert_allclose(change[76:86, 155:165], 0, atol=0.1)
    assert np.min(sure[80:90, 60:100]) > 0.4 > 0.2 > np.max(sure[76:86, 155:165])  # which is the network's word alone


def test_the_field_is_smooth_and_nothing_is_shifted():
    size, generator = (70, 150), np.random.default_rng(2)
    weight = (generator.random((1, *size, 1)) < 0.003).astype(np.float32)
    network, factor = np.zeros_like(weight), generator.normal(0, 0.2, (1, *size, 1)).astype(np.float32)
    change = fused(tf.constant(network), Evidence(tf.constant(factor), tf.constant(weight))).log_disparity.numpy()
    for axis in (1, 2):
        found = Evidence(*(tf.reverse(tf.constant(x), [axis]) for x in (factor, weight)))
        mirrored = fused(tf.constant(network), found).log_disparity
        np.testing.assert_allclose(tf.reverse(mirrored, [axis]), change, atol=1e-5)
    left = (network + np.arange(150).reshape(1, 1, 150, 1) < 25).astype(np.float32)
    row = fused(tf.constant(network), Evidence(tf.ones_like(network), tf.constant(left))).log_disparity[0, 30, :, 0]
    assert row[24] > 0.95 and row[-1] < 0.6 and np.max(np.abs(np.diff(row))) < 0.1


def test_evidence_of_next_to_no_weight_changes_next_to_nothing():
    network = tf.zeros([1, 64, 192, 1])
    assert np.max(fused(network, Evidence(network + 1, network + 1e-7)).log_disparity) < 0.02


GRID = np.stack(np.meshgrid(np.arange(96), np.arange(48)), axis=-1)[np.newaxis].astype(np.float32)


def test_flow_is_rigid_only_where_it_is_no_match_and_nothing_moves():
    flow = np.zeros((1, 48, 96, 2), np.float32) + [4, 0]
    rigid = flow + [1, 0]  # by a depth that is wrong by a quarter: nothing moves
    opposite = -flow
    flow[0, 20:24, 20:24] = 9, 3  # no match
    result = fused_flow(*(tf.constant(x, tf.float32) for x in (flow, opposite, GRID + rigid)))[0].numpy()
    np.testing.assert_allclose(result[20:24, 20:24], rigid[0, 20:24, 20:24], atol=1e-6)
    result[20:24, 20:24] = flow[0, 20:24, 20:24]
    np.testing.assert_allclose(result[:, :92], flow[0, :, :92], atol=1e-5)
    np.testing.assert_allclose(result[:, 92:], rigid[0, :, 92:], atol=1e-5)  # leads out of the image


def test_flow_is_kept_inside_an_object_that_moves_by_itself():
    flow, opposite = np.zeros((2, 1, 48, 96, 2), np.float32) + np.float32([[4, 0], [-4, 0]]).reshape(2, 1, 1, 1, 2)
    rigid = GRID + flow
    flow[0, 12:36, 30:60] = 14, 0
    opposite[0, 12:36, 44:74] = -14, 0
    opposite[0, 20:28, 56:64] = 3, 1  # uncertain: the pixels 42 to 49 of the object
    said = fused_flow(*(tf.constant(x) for x in (flow, opposite, rigid)))[0].numpy()
    np.testing.assert_allclose(said[12:36, 30:60], flow[0, 12:36, 30:60], atol=1)
    # Besides, the same flow of the same pixels is rigid if the object does not move.
    said = fused_flow(*(tf.constant(x) for x in (flow, opposite, GRID + 0.9 * flow)))[0].numpy()
    np.testing.assert_allclose(said[22:26, 44:48], [[[12.6, 0]] * 4] * 4, atol=1e-4)
