"""Which frames of a scene are worth keeping, and how those are numbered so that no gap is bridged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glnet_tf.data.datasets.scenes import Scene
from glnet_tf.data.preparation.parallax import MAX_STRIDE, GreyReader, parallax, scene_parallax

# A frame is left out for one of these; details may follow after a colon.
UNREADABLE, STATIC, SUBSAMPLED, ISOLATED = "unreadable", "static", "sub-sampled", "isolated"
SNIPPET = 3


def choose_frames(
    scene: Scene, runs: np.ndarray, min_parallax: float, target_parallax: float, cache_dir: str = "", jobs: int = 0
) -> tuple[list[str], np.ndarray]:
    """Chooses frames greedily: the next one is that at which the parallax since the last one adds up to the target.

    The noise of a standing camera adds up, too; so a frame counts as static, whatever the sum, as long as its parallax
    to the last chosen one is too small. (That one alone would not do: flow over many frames falls short.)

    Args:
      scene: the frames.
      runs: [F] number of the uninterrupted run that each belongs to, -1 where its header cannot be read.
      min_parallax: thousandths of the width below which the camera counts as standing.
      target_parallax: thousandths of the width between chosen frames; 0: all but those of a standing camera.
      cache_dir, jobs: see `scene_parallax`.

    Returns:
      reasons: why each frame is left out; empty for those that are chosen.
      runs: [F] number of the run that each chosen frame belongs to, -1 for the others.
    """
    wanted = max(min_parallax, target_parallax)
    steps = np.full(len(scene.files), np.inf)
    if wanted:
        steps[1:] = scene_parallax(scene.files, scene.lens, scene.used_rows, cache_dir, jobs)
    read = GreyReader(scene.files, scene.lens, scene.used_rows)
    reasons: list[str] = []
    chosen = np.full(len(scene.files), -1)
    last, since, number = -1, 0.0, -1
    for frame, file in enumerate(scene.files):
        since += steps[frame]
        reason = ""
        if runs[frame] < 0:
            reason = f"{UNREADABLE}: not a JPEG or PNG image"
        elif np.isnan(since) and read(file) is None:
            reason = f"{UNREADABLE}: cannot be decoded"
        elif np.isfinite(since) and runs[frame] == runs[last]:
            reason = _too_near(since, min_parallax, target_parallax)
            if not reason and last < frame - 1:
                reason = _too_near(_direct(read, scene.files[last], file), min_parallax, 0.0)
        if not reason:
            apart = last < 0 or np.isnan(since) or runs[frame] != runs[last] or frame - last > MAX_STRIDE
            number += apart
            chosen[frame] = number
            last, since = frame, 0.0
        reasons.append(reason)
    return reasons, chosen


def _too_near(moved: float, min_parallax: float, target_parallax: float) -> str:
    """Why a frame with a parallax to the last chosen one is left out; empty if it is far enough from that."""
    if moved >= max(min_parallax, target_parallax):
        return ""
    return f"{STATIC if moved < min_parallax else SUBSAMPLED}: parallax {moved:.2f} to the last frame that is kept"


def _direct(read: GreyReader, first: str, second: str) -> float:
    images = read(first), read(second)
    return np.inf if images[0] is None or images[1] is None else parallax(images[0], images[1], read.intrinsics)


def number_frames(runs: Sequence[int] | np.ndarray) -> list[int]:
    """Returns the numbers of frames: consecutive within a run, with one left out between runs.

    A run of fewer frames than a snippet has gets no numbers, so that most steps are 1 and a gap is seen as one.

    Args:
      runs: [F] the run of every frame, -1 for one that is left out.

    Returns:
      F numbers, -1 for a frame without one.
    """
    runs = np.asarray(runs)
    numbers = np.full(len(runs), -1)
    next_number = 0
    for run in np.unique(runs[runs >= 0]):
        members = np.flatnonzero(runs == run)
        if len(members) >= SNIPPET:
            numbers[members] = next_number + np.arange(len(members))
            next_number += len(members) + 1
    return numbers.tolist()
