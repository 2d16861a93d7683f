"""What a refinement reports of its iterations, and when it stops."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from glnet_tf.structures import LossReport

# Iterations in which the objective has to fall by the share RefinementConfig.stall.
PATIENCE = 10


class History(NamedTuple):
    """What every iteration of PFT started from, [N, B] each: the objective and its unweighted terms.

    In OFT the objective has the prior in it, and a last row, [N + 1, B], tells where the last iteration ended.
    """

    total: tf.Tensor
    report: LossReport
