"""Do no harm: a frame that took no part in a refinement says whether it explains the video better (ours)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from glnet_tf.geometry.fast_ops import surroundings_mean
from glnet_tf.geometry.rigid import rigid_correspondence
from glnet_tf.geometry.sampling import warp
from glnet_tf.geometry.transform import inverse
from glnet_tf.losses.photometric import moments, photometric_distance
from glnet_tf.structures import Predictions, merge, split

# Regions of this many pixels keep the predicted depth where the refined one explains them worse; the border between is
# as wide as BLEND; a region in which fewer pixels than this share are compared keeps the refined depth.
REGION, BLEND, MIN_SHARE = 65, 9, 0.2


class Verification(NamedTuple):
    """How well depth and motion explain frames that are two apart, whose pairs no refinement looks at.

    Attributes:
      initial, final: [B] mean photometric distance where both predictions see a match.
      disparity: [B, F, H, W, 1] inverse depth of the final predictions, but of the initial ones, in the scale of the
        final, in regions that those explain better.
    """

    initial: tf.Tensor
    final: tf.Tensor
    disparity: tf.Tensor


def verify(images: tf.Tensor, initial: Predictions, final: Predictions, harm: float) -> Verification:
    """Compares predictions before and after refinement by what they say of the frame after the next one, and back.

    Depth is refined by the pairs of neighbouring frames. That frame t and frame t + 2 look alike through the depth of
    one and the two motions between them was asked of neither.

    Args:
      images: [B, F, H, W, 3].
      initial, final: of them; the finest level is enough.
      harm: share by which a region may be explained worse.
    """
    (before, valid_before), (after, valid_after) = (_distances(images, x) for x in (initial, final))
    both = valid_before * valid_after
    total = tf.reduce_sum(both, axis=[1, 2, 3, 4])
    mean_before, mean_after = (
        tf.math.divide_no_nan(tf.reduce_sum(both * x, axis=[1, 2, 3, 4]), total) for x in (before, after)
    )

    def of_frames(maps: tf.Tensor) -> tf.Tensor:
        """Sums over each frame's pairs, and means over regions: [B * F, H, W, 1]."""
        onwards, back = tf.split(maps, 2, axis=1)
        sides = [[0, 0], [0, 2], *[[0, 0]] * 3], [[0, 0], [2, 0], *[[0, 0]] * 3]
        summed = tf.add_n([tf.pad(x, padding) for x, padding in zip((onwards, back), sides)])
        return surroundings_mean(merge(summed), REGION)

    worse = of_frames(both * after) > (1 + harm) * of_frames(both * before)
    worse &= of_frames(both) > MIN_SHARE
    reverted = split(surroundings_mean(tf.cast(worse, tf.float32), BLEND), images.shape[1])
    change = tf.math.log(final.disparities[0] / initial.disparities[0])
    own = change - tf.reduce_mean(change, axis=[2, 3], keepdims=True)
    return Verification(mean_before, mean_after, final.disparities[0] * tf.exp(-reverted * own))


def _distances(images: tf.Tensor, predictions: Predictions) -> tuple[tf.Tensor, tf.Tensor]:
    """Photometric distance and validity, [B, 2 (F - 2), H, W, 1], of the pairs (t, t + 2), then (t + 2, t)."""
    frames = images.shape[1]
    steps = predictions.poses[:, : frames - 1]
    onwards = tf.matmul(steps[:, 1:], steps[:, :-1])
    poses = merge(tf.concat([onwards, inverse(onwards)], axis=1))

    def of_pairs(maps: tf.Tensor, second: bool) -> tf.Tensor:
        earlier, later = maps[:, :-2], maps[:, 2:]
        return merge(tf.concat([later, earlier] if second else [earlier, later], axis=1))

    count = 2 * (frames - 2)
    rigid = rigid_correspondence(
        1 / of_pairs(predictions.disparities[0], False), tf.repeat(predictions.intrinsics, count, axis=0), poses
    )
    seen, _ = warp(of_pairs(images, True), rigid.pixels)
    distance = photometric_distance(moments(of_pairs(images, False)), moments(seen))
    return split(distance, count), split(rigid.valid, count)
