"""How far a camera moved between frames, measured from the images: what a rotation does not explain of their flow.

Without parallax there is nothing to learn depth from. Its unit is a thousandth of the image's width: 1 is what a car at
walking pace shows at ten frames per second, KITTI's driving has 3 to 30, and a standing camera less than 0.3, whatever
drives through its view.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from glnet_tf.data.files.calibration import UNKNOWN, Camera, undistort
from glnet_tf.data.files.images import image_sizes, read_grey
from glnet_tf.errors import DataError
from glnet_tf.files import file_state, make_folder, read_array, write_bytes
from glnet_tf.geometry.camera import intrinsics_from_field_of_view, resize_intrinsics
from glnet_tf.progress import in_threads

ASSUMED_FIELD_OF_VIEW = 60.0
# Pixels: flow is measured on images of this width, at every other pixel, no more exactly than to the noise.
WIDTH, STEP, NOISE = 208, 2, 0.01
ITERATIONS = 8
# Frames whose parallaxes are kept in one file, so that an interrupted measurement goes on from the last one.
BLOCK = 500
# Seconds of work after which a progress bar appears.
PATIENCE = 3.0
VERSION = 2
# Frames farther apart are no neighbours: what moves by itself has gone elsewhere meanwhile.
MAX_STRIDE = 30


def parallax(first: np.ndarray, second: np.ndarray, intrinsics: np.ndarray | None = None) -> float:
    """Returns the median length of the flow between two images that no rotation of the camera explains.

    The rotation is the one with the least sum of residual lengths (Gauss-Newton with iteratively reweighted least
    squares), so that a standing camera does not follow the cars in its view. What moves sideways along a wall looks
    much like a rotation and is underestimated.

    Args:
      first, second: [h, w] uint8 grey.
      intrinsics: [3, 3] K in pixels of these images; None: a horizontal field of view of 60 degrees.

    Returns:
      Thousandths of the images' width.
    """
    height, width = first.shape
    if intrinsics is None:
        intrinsics = _assumed_intrinsics(height, width)
    focal, centre = intrinsics[[0, 1], [0, 1]], intrinsics[:2, 2]
    start = np.zeros((height, width, 2), np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, start)
    y, x = np.mgrid[:height:STEP, :width:STEP]
    pixels = np.stack([x, y], axis=-1).reshape(-1, 2)
    moved = pixels + flow[::STEP, ::STEP].reshape(-1, 2).astype(np.float64)
    rays = np.column_stack([(pixels - centre) / focal, np.ones(len(pixels))])
    rotation = np.eye(3)
    for _ in range(ITERATIONS):
        turned, rest = _residual(rays @ rotation.T, moved, focal, centre)
        tx, ty = turned.T
        # The pixel's velocity under a small rotation: Longuet-Higgins and Prazdny, 1980.
        horizontal = focal[0] * np.column_stack([-tx * ty, 1 + tx**2, -ty])
        vertical = focal[1] * np.column_stack([-1 - ty**2, tx * ty, tx])
        weights = 1 / np.maximum(np.linalg.norm(rest, axis=-1), NOISE)
        jacobian = np.concatenate([horizontal, vertical])
        weighted = jacobian * np.tile(weights, 2)[:, np.newaxis]
        update = np.linalg.lstsq(weighted.T @ jacobian, weighted.T @ rest.T.ravel(), rcond=None)[0]
        rotation = cv2.Rodrigues(update)[0] @ rotation
    _, rest = _residual(rays @ rotation.T, moved, focal, centre)
    return float(np.median(np.linalg.norm(rest, axis=-1))) * 1000 / width


def _residual(
    rays: np.ndarray, moved: np.ndarray, focal: np.ndarray, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rays [N, 3] as normalised pixels [N, 2], and how far from them, in pixels [N, 2], the flow led."""
    turned = rays[:, :2] / np.maximum(rays[:, 2:], 1e-3)
    return turned, moved - (turned * focal + centre)


def _assumed_intrinsics(height: int, width: int) -> np.ndarray:
    with tf.device("/cpu:0"):
        return intrinsics_from_field_of_view(ASSUMED_FIELD_OF_VIEW, height, width).numpy()


class GreyReader:
    """Reads the frames of one scene as `parallax` wants them: small and grey.

    Args:
      files: paths of the frames, all of one size.
      camera: in pixels of the files.
      used_rows: share of their rows, from the top, that is used.
    """

    def __init__(self, files: Sequence[str], camera: Camera = UNKNOWN, used_rows: float = 1.0) -> None:
        readable = (size for file in files if (size := image_sizes([file])[0]) is not None)
        height, width = next(readable, (1, 1))
        self._rows = used_rows
        self._width = min(WIDTH, width)
        self._height = max(round(height * self._width / width), 1)
        # JPEGs are decoded at a half, a quarter or an eighth of their size in a fraction of the time.
        factor = next(factor for factor in (8, 4, 2, 1) if width >= factor * WIDTH or factor == 1)
        self._flag = {
            8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
            4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
            2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
            1: cv2.IMREAD_GRAYSCALE,
        }[factor]
        self._camera = camera
        if camera.intrinsics is not None:
            with tf.device("/cpu:0"):
                scaled = resize_intrinsics(tf.constant(camera.intrinsics), (height, width), (self._height, self._width))
            self._camera = camera._replace(intrinsics=scaled.numpy())

    @property
    def intrinsics(self) -> np.ndarray | None:
        """[3, 3] K in pixels of what is read, or None."""
        return self._camera.intrinsics

    def __call__(self, file: str) -> np.ndarray | None:
        """Returns [h, w] uint8 without its distortion, or None if the file cannot be decoded."""
        flag = cv2.IMREAD_GRAYSCALE if file.lower().endswith(".png") else self._flag
        try:
            image = read_grey(Path(file), flag)
        except DataError:
            return None
        small = cv2.resize(image, (self._width, self._height), interpolation=cv2.INTER_AREA)
        return undistort(small, self._camera)[: max(round(self._rows * self._height), 1)]


def scene_parallax(
    files: Sequence[str],
    camera: Camera = UNKNOWN,
    used_rows: float = 1.0,
    cache_dir: str = "",
    jobs: int = 0,
) -> np.ndarray:
    """Returns the parallax between consecutive frames, measured once if there is a folder to keep it in.

    Args:
      files: paths of a scene's F frames, all of one size.
      camera, used_rows: see GreyReader.
      cache_dir: folder that keeps what was measured, by path, size and time of the files; empty: none.
      jobs: threads; 0: one per processor.

    Returns:
      [F-1] thousandths of the images' width; NaN where one of the frames cannot be decoded.
    """
    read = GreyReader(files, camera, used_rows)
    settings = [VERSION, used_rows, *(None if x is None else np.asarray(x, float).tolist() for x in camera)]
    found = [np.zeros(0)]
    steps = max(len(files) - 1, 0)
    with tqdm(total=steps, desc="measuring parallax", unit="frame", delay=PATIENCE, leave=False) as bar:
        for start in range(0, steps, BLOCK):
            block = files[start : start + BLOCK + 1]
            kept = _cache_file(block, settings, cache_dir)
            values = _cached(kept, len(block) - 1)
            if values is None:
                values = _measure(block, read, jobs, bar)
                _keep(kept, values)
            else:
                bar.update(len(values))
            found.append(values)
    return np.concatenate(found)


def _measure(files: Sequence[str], read: GreyReader, jobs: int, bar: tqdm) -> np.ndarray:
    def between(pair: tuple[np.ndarray | None, np.ndarray | None]) -> float:
        first, second = pair
        return np.nan if first is None or second is None else parallax(first, second, read.intrinsics)

    images = list(in_threads(read, files, jobs))
    values = []
    for value in in_threads(between, zip(images, images[1:]), jobs):
        values.append(value)
        bar.update()
    return np.array(values)


def _cache_file(files: Iterable[str], settings: list, cache_dir: str) -> Path | None:
    if not cache_dir:
        return None
    states = [(str(Path(file).resolve()), *file_state(file)) for file in files]
    digest = hashlib.sha256(json.dumps([settings, states]).encode()).hexdigest()
    return Path(cache_dir).expanduser() / "parallax" / f"{digest}.npy"


def _cached(file: Path | None, count: int) -> np.ndarray | None:
    """What an earlier run kept; None if there is nothing, or nothing that can be believed."""
    if file is None or not file.exists():
        return None
    try:
        values = read_array(file, "parallax")
    except DataError:
        return None
    return values if values.shape == (count,) else None


def _keep(file: Path | None, values: np.ndarray) -> None:
    if file is None:
        return
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    make_folder(file.parent, "cache_dir")
    write_bytes(file, content.getvalue())


def distant_frames(steps: np.ndarray, target: float) -> np.ndarray:
    """Returns how many frames back and forth the parallax since then, or until then, adds up to a target.

    Args:
      steps: [F-1] parallax between the scene's consecutive frames, NaN where it is unknown.
      target: thousandths of the width.

    Returns:
      [F, 2] at least 1; no more than MAX_STRIDE, nor than there are frames.
    """
    travelled = np.cumsum(np.append(0, np.nan_to_num(steps)))
    frames = np.arange(len(travelled))
    back = frames - np.searchsorted(travelled, travelled - target, side="right") + 1
    forth = np.searchsorted(travelled, travelled + target) - frames
    most = np.clip(np.stack([frames, frames[::-1]], axis=1), 1, MAX_STRIDE)
    return np.clip(np.stack([back, forth], axis=1), 1, most)


def static_snippets(frames: np.ndarray, steps: np.ndarray, min_parallax: float) -> np.ndarray:
    """Returns which snippets have too little parallax between two neighbours.

    Args:
      frames: [S, 3] indices into a scene's frames, see data.source.snippet_frames.
      steps: [F-1] parallax between the scene's consecutive frames, NaN where it is unknown.
      min_parallax: parallax from which the camera counts as moving.

    Returns:
      [S] bool; one with an unknown parallax is not among them, for its images are judged as they are decoded.
    """
    unknown = np.cumsum(np.append(0, np.isnan(steps)))
    travelled = np.cumsum(np.append(0, np.nan_to_num(steps)))
    known = np.diff(unknown[frames], axis=1) == 0
    return (known & (np.diff(travelled[frames], axis=1) < min_parallax)).any(axis=1)
