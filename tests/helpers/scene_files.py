"""Scenes in the layouts that sources read, written for the tests."""

import re
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

K_TEXT = "50 0 9.5\n0 40 5.5\n0 0 1\n"
P_TEXT = "50 0 9.5 0 0 40 5.5 0 0 0 1 0"
HEIGHT, WIDTH = 12, 20


def write_scene(folder: Path, numbers, cam: str = "", size=(HEIGHT, WIDTH), pattern: str = "{:06d}.png") -> list[str]:
    """Writes images whose grey value is their number, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / pattern.format(number) for number in numbers]
    for path, number in zip(paths, numbers):
        Image.fromarray(np.full((*size, 3), number % 256, np.uint8)).save(path)
    if cam:
        (folder / "cam.txt").write_text(cam)
    return [str(path) for path in paths]


def pose_rows(count: int) -> str:
    """Poses of a camera that moves 1, 2, 3 ... metres forward and does not turn."""
    return "\n".join(f"1 0 0 0 0 1 0 0 0 0 1 {i * (i + 1) / 2}" for i in range(count)) + "\n"


def frame_numbers(source) -> list[tuple[int, ...]]:
    return [tuple(int(re.findall(r"\d+", Path(file).stem)[-1]) for file in source.files(i)) for i in range(len(source))]


def loaded_values(source, index: int) -> list[int]:
    return [int(value) for value in source.load(tf.constant(index, tf.int64))[0].numpy()[:, 0, 0, 0]]


def write_odometry(root: Path) -> None:
    for sequence, camera, key in (("01", "image_0", "P0"), ("02", "image_2", "P2")):
        write_scene(root / "sequences" / sequence / camera, range(4))
        (root / "sequences" / sequence / "calib.txt").write_text(f"P1: {'1 ' * 12}\n{key}: {P_TEXT}\n")
    write_scene(root / "sequences" / "02" / "image_0", range(4), size=(5, 5))
    (root / "poses").mkdir()
    (root / "poses" / "01.txt").write_text(pose_rows(4))
