"""From what a refiner returns to the one type of results: what is predicted for a frame, in NumPy, at its own size."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from glnet_tf.geometry.camera import resize_intrinsics
from glnet_tf.geometry.resize import resize_disparity, resize_flow, resize_mask
from glnet_tf.refinement.refiner import Refined
from glnet_tf.structures import FramePrediction, rescaled_motion


class WindowPrediction(NamedTuple):
    """What a stage of a refinement says about a window, in NumPy, in the scale in which the network predicted it.

    That of the frames shared with the window before would drift: each ratio adds its error to all that follows.

    Attributes:
      disparities: [F, h, w] inverse depth.
      flows: [F - 1, H, W, 2] from every frame to the next, pixels.
      motions: [F - 1, 4, 4] T from every frame to the next.
      confidence: [F, h, w] from 0 to 1.
      moving: [F - 1, h, w] 1.0 where an object moves by itself; None: not asked.
      intrinsics: [3, 3] K in pixels of [h, w].
      reason: why the window was not refined; empty if it was.
    """

    disparities: np.ndarray
    flows: np.ndarray
    motions: np.ndarray
    confidence: np.ndarray
    moving: np.ndarray | None
    intrinsics: np.ndarray
    reason: str

    def at(self, frame: int, image: np.ndarray, pose: np.ndarray) -> FramePrediction:
        """Returns what is predicted for a frame, at the size of its image, [H, W, 3] uint8; `pose`: camera to world."""
        size, last = image.shape[:2], frame == len(self.motions)
        intrinsics = resize_intrinsics(self.intrinsics, self.disparities.shape[1:], size)
        return FramePrediction(
            image=image,
            disparity=resize_disparity(self.disparities[frame], size),
            confidence=cv2.resize(self.confidence[frame], size[::-1]),
            flow=None if last else resize_flow(self.flows[frame], size),
            moving=None if last or self.moving is None else resize_mask(self.moving[frame] > 0, size),
            motion=None if last else self.motions[frame],
            pose=pose,
            intrinsics=np.asarray(intrinsics),
            reason=self.reason,
        )


def window_predictions(refined: Refined, member: int) -> list[WindowPrediction]:
    """Returns what every stage of a refinement says about a member of its batch: as predicted first."""
    found: list[WindowPrediction] = []
    for stage in refined.stages:
        disparities = stage.predictions.disparities[0][member, ..., 0].numpy()
        count = len(disparities) - 1
        scale = scale_between(found[0].disparities, disparities) if found else 1.0
        motions = stage.predictions.poses[member, :count].numpy().astype(np.float64)
        found.append(
            WindowPrediction(
                disparities=disparities * np.float32(scale),
                flows=stage.flow[member, :count].numpy(),
                motions=rescaled_motion(motions, 1 / scale),
                confidence=refined.confidence[member, ..., 0].numpy(),
                moving=refined.moving[member, :count, ..., 0].numpy() if stage is refined.stages[-1] else None,
                intrinsics=stage.predictions.intrinsics[member].numpy(),
                reason=refined.reasons[member] if len(refined.stages) > 1 else "",
            )
        )
    return found


def scale_between(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Returns the factor on inverse depth that brings an estimate to another one's scale: the median ratio."""
    return float(np.median(reference / estimate))


def share_of_motion(motion: np.ndarray, steps: int) -> np.ndarray:
    """Returns the motion, [4, 4], that makes the given one when it is repeated so many times."""
    step = np.eye(4)
    step[:3, :3] = cv2.Rodrigues(cv2.Rodrigues(motion[:3, :3])[0] / steps)[0]
    summed = sum(np.linalg.matrix_power(step[:3, :3], k) for k in range(steps))
    step[:3, 3] = np.linalg.solve(summed, motion[:3, 3])
    return step
