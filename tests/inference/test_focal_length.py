"""The focal length of a street's camera, from FlowNet's stand-in: the true flow."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.data.frames import Frame
from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.inference import focal_length
from glnet_tf.inference.focal_length import estimate_focal_length

HEIGHT, WIDTH = 96, 160


class Camera:
    """A camera of a focal length that moves, and turns by an angle about y, before a random scene at every pair."""

    def __init__(self, focal: float, angle: float):
        self.focal, self.angle, self.rng = focal * WIDTH, angle, np.random.default_rng(0)

    image_size = HEIGHT, WIDTH

    def flow_net(self, images: tf.Tensor) -> tuple[tf.Tensor]:
        flow = tf.numpy_function(self.flow, [], tf.float32)
        return (tf.ensure_shape(flow, [1, 2, HEIGHT, WIDTH, 2]),)

    def flow(self) -> np.ndarray:
        grid = pixel_grid(HEIGHT, WIDTH).numpy().reshape(-1, 2).astype(float)
        centre = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
        rays = np.column_stack([(grid - centre) / self.focal, np.ones(len(grid))])
        # Neighbours are at about one depth, so that the flow is smooth enough to be warped.
        waves = self.rng.uniform(-1, 1, 4)
        depth = 3 + waves[:2] @ np.sin(grid / 25 + waves[2:]).T + grid[:, 1] / 40
        flows = []
        for sign in (1, -1):
            c, s = np.cos(sign * self.angle), np.sin(sign * self.angle)
            rotation, translation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]), sign * np.array([0.05, 0.02, -0.25])
            moved = (rays * depth[:, np.newaxis]) @ rotation.T + translation
            flows.append((moved[:, :2] / moved[:, 2:] * self.focal + centre - grid).reshape(HEIGHT, WIDTH, 2))
        return np.stack(flows)[np.newaxis].astype(np.float32)


def frames(count: int):
    return (Frame(str(x), np.full((HEIGHT, WIDTH, 3), x % 9, np.uint8), x / 10, 0) for x in range(count))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(focal_length, "PAIRS", 16)
    monkeypatch.setattr(focal_length, "depth_size", lambda trained, shapes: (HEIGHT, WIDTH))


@pytest.mark.parametrize("focal", [0.5, 0.9])
def test_a_camera_that_turns(focal):
    found = estimate_focal_length(Camera(focal, 0.04), frames(60), 60)
    assert found.certain and abs(found.focal / focal - 1) < 0.1 and found.spread < 0.05


def test_a_camera_that_does_not_turn_tells_nothing():
    assert not estimate_focal_length(Camera(0.7, 0.0), frames(60), 60).certain


def test_few_frames_tell_nothing():
    model = Camera(0.7, 0.04)
    assert estimate_focal_length(model, frames(20), 20) is None
    assert estimate_focal_length(model, frames(5), None) is None
