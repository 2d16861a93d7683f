"""Camera motion metrics: NumPy only."""

from __future__ import annotations

import numpy as np

# T from frame t to frame t+1 of a camera that moves along its axis: points come nearer.
STRAIGHT_AHEAD = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -1], [0, 0, 0, 1]], np.float32)


def rotation_error(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the angle between two rotations, degrees; both [4, 4] or [3, 3]."""
    relative = truth[:3, :3].T @ predicted[:3, :3]
    # The chord |R - I| stays accurate for small angles, where the arc cosine of the trace does not.
    chord = np.linalg.norm(relative - np.eye(3)) / np.sqrt(8)
    return float(np.degrees(2 * np.arcsin(np.clip(chord, 0, 1))))


def direction_error(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the angle between the translations of two poses, [4, 4], in degrees: 0 to 180."""
    a, b = truth[:3, 3], predicted[:3, 3]
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


def snippet_ate(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the absolute trajectory error of a short snippet, as SfMLearner (CVPR 2017) published it, in metres.

    The first positions are aligned and the prediction is scaled by sum(truth . predicted) / sum(predicted^2); the
    error is sqrt(sum of squared distances) / N, which is not an RMSE.

    Args:
      truth, predicted: [N, 3] camera positions; N = 5 in the published protocol.
    """
    truth, predicted = truth - truth[0], predicted - predicted[0]
    norm = np.sum(predicted**2)
    scale = np.sum(truth * predicted) / norm if norm > 0 else 0.0
    return float(np.sqrt(np.sum((truth - scale * predicted) ** 2)) / len(truth))


def snippet_ates(truth: np.ndarray, predicted: np.ndarray, length: int = 5) -> np.ndarray:
    """Returns snippet_ate of every run of `length` frames.

    Args:
      truth: [N, 4, 4] camera-to-world matrices, metres.
      predicted: [N, 4, 4] camera-to-world matrices, up to scale.
    """
    errors = []
    for start in range(len(truth) - length + 1):
        window = slice(start, start + length)
        # Both in the frame of the snippet's first camera: only then can the first positions and axes be aligned.
        a = np.linalg.inv(truth[start]) @ truth[window]
        b = np.linalg.inv(predicted[start]) @ predicted[window]
        errors.append(snippet_ate(a[:, :3, 3], b[:, :3, 3]))
    return np.array(errors)
