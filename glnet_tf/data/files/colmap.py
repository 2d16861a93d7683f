"""COLMAP's text model, which other programs go on from: cameras.txt, images.txt, points3D.txt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from glnet_tf.data.files.trajectories import quaternions
from glnet_tf.files import make_folder, write_bytes

MAX_POINTS = 100_000


def write_colmap(
    folder: Path,
    names: Sequence[str],
    poses: np.ndarray,
    intrinsics: np.ndarray,
    size: tuple[int, int],
    points: np.ndarray,
    colours: np.ndarray,
) -> None:
    """Writes the model of one camera's frames.

    COLMAP's pixels have their centres at halves, and its poses take points of the world into the camera.

    Args:
      folder: made if need be.
      names: of the F images' files.
      poses: [F, 4, 4] camera to world.
      intrinsics: [3, 3] K in pixels, whose centres are integers.
      size: (H, W) of the images.
      points, colours: [N, 3] in the world, and uint8; evenly chosen ones, where they are more than MAX_POINTS.

    Raises:
      DataError: a file cannot be written.
    """
    make_folder(folder, "output_dir")
    (fx, _, cx), (_, fy, cy), _ = intrinsics
    camera = f"1 PINHOLE {size[1]} {size[0]} {fx:.6f} {fy:.6f} {cx + 0.5:.6f} {cy + 0.5:.6f}"
    inverse = np.linalg.inv(poses)
    images = []
    for number, (name, (x, y, z, w), motion) in enumerate(
        zip(names, quaternions(inverse[:, :3, :3]), inverse), start=1
    ):
        values = " ".join(f"{value:.9g}" for value in (w, x, y, z, *motion[:3, 3]))
        images += [f"{number} {values} 1 {name}", ""]
    every = max(1, -(-len(points) // MAX_POINTS))
    rows = [
        f"{number} {x:.6g} {y:.6g} {z:.6g} {r} {g} {b} -1"
        for number, ((x, y, z), (r, g, b)) in enumerate(zip(points[::every], colours[::every]), start=1)
    ]
    for name, lines in (("cameras", [camera]), ("images", images), ("points3D", rows)):
        write_bytes(folder / f"{name}.txt", "".join(f"{line}\n" for line in lines).encode())
