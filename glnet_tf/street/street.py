"""A rendered street with exact depth, flow and camera motion: the library's oracle and its data without downloads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from glnet_tf.errors import ConfigError
from glnet_tf.street.atlas import build_atlas
from glnet_tf.street.layout import Builder, add_buildings, add_parked_cars, add_street_furniture
from glnet_tf.street.path import Drive, Path, make_drive, make_path, rotation_x
from glnet_tf.street.render import Quads, View, cast_grid, cast_points, prepare_view, transform_quads
from glnet_tf.street.shading import Look, render_image
from glnet_tf.street.surroundings import add_countryside, add_distance, add_ground, make_vehicles
from glnet_tf.street.textures import LANE, textures

# Speed, relative to that of driving in a town.
PACE = {"town": 1.0, "country": 1.0, "highway": 3.0}
SKY_DEPTH = 1000.0  # metres; where the sky is as far as depth and flow are concerned
STYLES = ("town", "country", "highway")
TRAFFIC = ("passing", "escort", "jam")
_SAME_DEPTH = 1e-7  # relative difference up to which two depths are of one surface


class Frame(NamedTuple):
    """One rendered frame.

    Attributes:
      image: [H, W, 3] uint8 RGB.
      depth: [H, W] float32 depth z in metres, SKY_DEPTH in the sky.
      surface: [H, W] int32 index of the visible quad, -1 in the sky; a quad keeps its index in all frames.
      moving: [H, W] bool, on independently moving vehicles.
    """

    image: np.ndarray
    depth: np.ndarray
    surface: np.ndarray
    moving: np.ndarray


class Mount(NamedTuple):
    """How the camera sits on the car, beside the usual 1.5 to 1.7 m above the road, level.

    Attributes:
      raised: metres above that.
      pitch: radians by which it looks up.
    """

    raised: float = 0.0
    pitch: float = 0.0


LEVEL = Mount()


def _inverse(pose: np.ndarray) -> np.ndarray:
    """The inverse of rigid transforms [..., 4, 4]."""
    result = np.zeros_like(pose)
    result[..., :3, :3] = np.swapaxes(pose[..., :3, :3], -1, -2)
    result[..., :3, 3] = -np.einsum("...ji,...j->...i", pose[..., :3, :3], pose[..., :3, 3])
    result[..., 3, 3] = 1
    return result


def _mounted(drive: Drive, mount: Mount) -> Drive:
    pose = drive.pose.copy()
    pose[:, 1, 3] -= mount.raised
    pose[:, :3, :3] = pose[:, :3, :3] @ rotation_x(np.array(mount.pitch))
    return drive._replace(pose=pose)


def _joined(parts: list[Quads]) -> Quads:
    return Quads(*(np.concatenate(items) for items in zip(*parts)))


def _standing(rng: np.random.Generator, builder: Builder, path: Path, style: str) -> Quads:
    """Everything that does not move; the ground comes first."""
    add_ground(builder, path)
    for side in (-1.0, 1.0):
        if style == "town":
            add_buildings(rng, builder, path, side)
            add_street_furniture(rng, builder, path, side)
            add_parked_cars(rng, builder, path, side)
        else:
            add_countryside(rng, builder, path, side)
    add_distance(rng, builder, path, style)
    return builder.quads()


class Street:
    """A drive along a random street with parked and moving vehicles.

    The same arguments give the same bits. World axes are x right, y down, z ahead at the street's start, in metres.

    Attributes:
      intrinsics: [3, 3] float64 K in pixels.
      frames: number of frames.
    """

    def __init__(
        self,
        seed: int,
        frames: int = 60,
        height: int = 128,
        width: int = 416,
        focal: float | None = None,
        style: str = "town",
        mount: Mount = LEVEL,
        traffic: str = "passing",
    ) -> None:
        """Lays out the street; frames are rendered when asked for.

        Args:
          seed: decides layout, textures, light and drive; not negative.
          frames: number of frames.
          height, width: size of the images, pixels. They do not change the world.
          focal: focal length, pixels; 0.58 of the width by default.
          style: "town" (facades, parked cars), "country" (hedges, fences, trees, other colours) or "highway" (the same
            beside a bare road, whose only marks are lines along the motion, three times as fast).
          mount: how the camera sits on the car.
          traffic: "passing" (vehicles ahead come and go), "escort" (they keep the camera's speed) or "jam" (the camera
            stands).

        Raises:
          ConfigError: an argument is out of range.
        """
        focal = 0.58 * width if focal is None else float(focal)
        _check(seed, frames, height, width, focal, style, traffic)
        self.frames = frames
        self.intrinsics = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
        self._size = height, width
        streams = [np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(5)]
        path = make_path(streams[0], frames, PACE[style])
        lane = LANE / 2 * float(streams[1].choice([-1, 1]))
        self._drive: Drive = _mounted(make_drive(streams[1], path, frames, lane, PACE[style]), mount)
        if traffic == "jam":
            self._drive = Drive(*(np.repeat(x[:1], frames, axis=0) for x in self._drive))
        light = streams[2]
        azimuth, elevation = light.uniform(0, 2 * np.pi), np.deg2rad(light.uniform(28, 60))
        level = np.cos(elevation)
        sun = np.array([level * np.sin(azimuth), -np.sin(elevation), level * np.cos(azimuth)])
        ambient = light.uniform(0.5, 0.66) if style == "town" else light.uniform(0.66, 0.82)
        standing = _standing(streams[3], Builder(sun, ambient), path, style)
        self._vehicles = make_vehicles(streams[3], path, self._drive, lane, sun, ambient, steady=traffic == "escort")
        self._standing = standing
        quads = _joined([standing] + [vehicle.quads for vehicle in self._vehicles])
        owners = [np.full(len(vehicle.quads.tile), k) for k, vehicle in enumerate(self._vehicles)]
        self._owner = np.concatenate([np.full(len(standing.tile), -1)] + owners)
        warmth = np.array([1.0, 1.0, 1.0] if style == "town" else [1.1, 1.0, 0.85])
        quads = quads._replace(gain=(quads.gain * light.uniform(0.92, 1.12) * warmth).astype(np.float32))
        pictures = textures(streams[4], style)
        haze = np.array([198, 208, 218] if style == "town" else [232, 210, 178], np.float32)
        clarity = light.uniform(250, 500) if style == "town" else light.uniform(140, 260)
        self._look = Look(path, standing.shape[0], quads, build_atlas(pictures), haze, clarity)

    def camera_to_world(self, i: int) -> np.ndarray:
        """The camera's pose in frame i: [4, 4] float64, maps its points into the world."""
        return self._drive.pose[self._checked(i)].copy()

    def relative_pose(self, i: int, j: int) -> np.ndarray:
        """T_ij: [4, 4] float64, maps points of camera i into camera j."""
        return _inverse(self.camera_to_world(j)) @ self.camera_to_world(i)

    def frame(self, i: int) -> Frame:
        """Renders frame i; depth, surface and moving are exact at the pixel centres."""
        view = self._view(i)
        surface, inverse = self._cast_centres(view)
        image = render_image(self._look, view, self._drive.pose[i], self.intrinsics, surface)
        return Frame(image, _depth(inverse).astype(np.float32), surface, (surface >= 0) & (self._owner[surface] >= 0))

    def depth_at(self, i: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Casts rays at any image positions of frame i.

        Args:
          i: frame.
          points: [N, 2] float64 (x, y), pixels; positions outside the image see nothing but sky.

        Returns:
          depth [N] float64 in metres (SKY_DEPTH in the sky) and surface [N] int32 (-1 in the sky).
        """
        surface, inverse = cast_points(self._view(i), np.asarray(points, np.float64))
        return _depth(inverse), surface

    def flow(self, i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
        """The true flow from frame i to frame j, moving vehicles included.

        Args:
          i, j: frames.

        Returns:
          flow [H, W, 2] float64 (u, v) in pixels at the pixel centres of frame i (0 where the point is behind
          camera j), and visible [H, W] bool: the point projects into image j and nothing is in front of it there.
        """
        height, width = self._size
        self._checked(j)
        surface, inverse = self._cast_centres(self._view(i))
        y, x = np.mgrid[:height, :width].astype(np.float64)
        rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(self.intrinsics).T
        points = (rays * _depth(inverse)[..., None]).reshape(-1, 3)
        owner = np.where(surface >= 0, self._owner[surface], -1).ravel()
        moved = np.empty_like(points)
        for k in np.unique(owner):
            motion = self.relative_pose(i, j) if k < 0 else self._vehicle_motion(k, i, j)
            moved[owner == k] = points[owner == k] @ motion[:3, :3].T + motion[:3, 3]
        z = moved[:, 2]
        ahead = z > 1e-3
        target = (moved @ self.intrinsics.T)[:, :2] / np.where(ahead, z, 1.0)[:, None]
        visible = ahead & (target >= 0).all(axis=1) & (target <= np.array([width - 1, height - 1])).all(axis=1)
        depth, seen = self.depth_at(j, target[visible])
        visible[visible] = (seen < 0) | (depth >= z[visible] * (1 - _SAME_DEPTH))
        flow = np.where(ahead[:, None], target - np.stack([x.ravel(), y.ravel()], axis=1), 0.0)
        return flow.reshape(height, width, 2), visible.reshape(height, width)

    def _vehicle_motion(self, k: int, i: int, j: int) -> np.ndarray:
        """Maps points on vehicle k seen in camera i into camera j."""
        pose = self._vehicles[k].pose
        return _inverse(self._drive.pose[j]) @ pose[j] @ _inverse(pose[i]) @ self._drive.pose[i]

    def _checked(self, i: int) -> int:
        if not 0 <= i < self.frames:
            raise IndexError(f"frame {i}: the street has frames 0 to {self.frames - 1}")
        return i

    def _view(self, i: int) -> View:
        camera = _inverse(self._drive.pose[self._checked(i)])
        shapes = [transform_quads(self._standing.shape, camera)]
        shapes += [transform_quads(vehicle.quads.shape, camera @ vehicle.pose[i]) for vehicle in self._vehicles]
        height, width = self._size
        return prepare_view(np.concatenate(shapes), self.intrinsics, width, height)

    def _cast_centres(self, view: View) -> tuple[np.ndarray, np.ndarray]:
        height, width = self._size
        return cast_grid(view, np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))


def _depth(inverse: np.ndarray) -> np.ndarray:
    return np.where(inverse > 0, 1 / np.where(inverse > 0, inverse, 1.0), SKY_DEPTH)


def _check(seed: int, frames: int, height: int, width: int, focal: float, style: str, traffic: str) -> None:
    for what, given, known in (("style", style, STYLES), ("traffic", traffic, TRAFFIC)):
        if given not in known:
            raise ConfigError(f"street {what} {given!r}: expected one of {', '.join(known)}")
    for name, value, low in (("seed", seed, 0), ("frames", frames, 1), ("height", height, 1), ("width", width, 1)):
        if value < low:
            raise ConfigError(f"street {name} {value}: expected at least {low}")
    if not focal > 0:
        raise ConfigError(f"street focal length {focal} pixels: expected more than 0")
