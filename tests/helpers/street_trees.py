"""A rendered street, written to disk in the layouts of real data sets, with everything that is true about it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from glnet_tf.data.files.arrays import write_depth_png, write_flo, write_kitti_flow
from glnet_tf.street.street import Street

DATE, DRIVE = "2011_09_26", "2011_09_26_drive_0048_sync"
# The velodyne sees x ahead, y left, z up; the right camera is 0.5 m to the right of the left one.
VELO_TO_CAMERA = (np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), np.array([0.01, -0.08, -0.27]))
IMU_TO_VELO = (np.eye(3), np.array([-0.8, 0.3, -0.8]))
RECTIFICATION = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
BASELINE, FARTHEST = 0.06, 60.0
EARTH_RADIUS = 6378137.0


def street(frames: int = 5, seed: int = 3, height: int = 32, width: int = 96) -> Street:
    return Street(seed, frames, height, width)


def true_depth(video: Street, frame: int) -> np.ndarray:
    """Depth as far as every format can hold it, 0 beyond, [H, W] metres."""
    depth = video.frame(frame).depth
    return np.where(depth < FARTHEST, depth, 0.0)


def write_images(folder: Path, video: Street, pattern: str, numbers=None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for frame in range(video.frames) if numbers is None else numbers:
        Image.fromarray(video.frame(frame).image).save(folder / pattern.format(frame))


def text(values) -> str:
    return " ".join(f"{value:.15g}" for value in np.ravel(values))


def write_odometry_tree(root: Path, video: Street) -> None:
    sequence = root / "sequences" / "09"
    write_images(sequence / "image_2", video, "{:06d}.png")
    projection = np.hstack([video.intrinsics, np.zeros((3, 1))])
    (sequence / "calib.txt").write_text(f"P0: {text(projection)}\nP2: {text(projection)}\n")
    (root / "poses").mkdir()
    poses = [video.camera_to_world(frame)[:3] for frame in range(video.frames)]
    (root / "poses" / "09.txt").write_text("".join(f"{text(pose)}\n" for pose in poses))


def write_raw_tree(root: Path, video: Street, drive: str = DRIVE, suffix: str = "png") -> None:
    """KITTI raw: image_02, calibration, velodyne_points and oxts; camera 2 is not where camera 0 is."""
    folder, date = root / DATE / drive, root / DATE
    write_images(folder / "image_02" / "data", video, "{:010d}." + suffix)
    projection = video.intrinsics @ np.hstack([np.eye(3), [[BASELINE], [0], [0]]])
    (date / "calib_cam_to_cam.txt").write_text(
        f"calib_time: 09-Jan-2012 13:57:47\nR_rect_00: {text(RECTIFICATION)}\nP_rect_02: {text(projection)}\n"
    )
    for name, (rotation, translation) in (("velo_to_cam", VELO_TO_CAMERA), ("imu_to_velo", IMU_TO_VELO)):
        (date / f"calib_{name}.txt").write_text(f"calib_time: now\nR: {text(rotation)}\nT: {text(translation)}\n")
    velodyne = rigid(np.eye(3), [BASELINE, 0, 0]) @ rigid(RECTIFICATION) @ rigid(*VELO_TO_CAMERA)
    for part in ("velodyne_points", "oxts"):
        (folder / part / "data").mkdir(parents=True)
    for frame in range(video.frames):
        write_sweep(folder / "velodyne_points" / "data" / f"{frame:010d}.bin", video, frame, np.linalg.inv(velodyne))
        imu = video.camera_to_world(frame) @ velodyne @ rigid(*IMU_TO_VELO)
        (folder / "oxts" / "data" / f"{frame:010d}.txt").write_text(oxts_line(imu))


def write_sweep(file: Path, video: Street, frame: int, camera_to_velodyne: np.ndarray) -> None:
    """One LiDAR point for each pixel, where the published code puts it: column round(u) - 1."""
    depth = true_depth(video, frame)
    row, column = np.nonzero(depth)
    rays = np.stack([column + 1, row + 1, np.ones_like(row)], axis=1) @ np.linalg.inv(video.intrinsics).T
    points = np.hstack([rays * depth[row, column, np.newaxis], np.ones((len(row), 1))]) @ camera_to_velodyne.T
    points.astype(np.float32).tofile(file)


def oxts_line(imu_to_world: np.ndarray) -> str:
    """A line of oxts whose pose, by KITTI's rules, is the given one up to one motion of the whole world."""
    # Into a world whose z is up, as the Mercator map has it.
    pose = rigid(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])) @ imu_to_world
    R, (x, y, z) = pose[:3, :3], pose[:3, 3]
    roll, pitch, yaw = np.arctan2(R[2, 1], R[2, 2]), -np.arcsin(R[2, 0]), np.arctan2(R[1, 0], R[0, 0])
    # The scale of the map is that of the first frame's latitude; the drive starts at the equator.
    longitude, latitude = np.degrees(x / EARTH_RADIUS), 2 * np.degrees(np.arctan(np.exp(y / EARTH_RADIUS))) - 90
    return text([latitude, longitude, z, roll, pitch, yaw] + [0.0] * 24) + "\n"


def write_kitti_flow_tree(root: Path, video: Street) -> None:
    folder = root / "training"
    for number in range(2):
        name = f"{number:06d}"
        for frame in (0, 1):
            write_images(folder / "image_2", video, f"{name}_1{frame}.png", [2 * number + frame])
        flow, visible = video.flow(2 * number, 2 * number + 1)
        for part, known in (("flow_occ", np.ones_like(visible)), ("flow_noc", visible)):
            (folder / part).mkdir(exist_ok=True)
            write_kitti_flow(folder / part / f"{name}_10.png", flow.astype(np.float32), known)
        (folder / "obj_map").mkdir(exist_ok=True)
        Image.fromarray(video.frame(2 * number).moving.astype(np.uint8)).save(folder / "obj_map" / f"{name}_10.png")


def write_middlebury_tree(root: Path, video: Street) -> None:
    write_images(root / "other-data" / "Street", video, "frame1{}.png", [0, 1])
    (root / "other-gt-flow" / "Street").mkdir(parents=True)
    write_flo(root / "other-gt-flow" / "Street" / "flow10.flo", video.flow(0, 1)[0].astype(np.float32))


def write_cityscapes_tree(root: Path, video: Street) -> None:
    for city in ("aachen", "bochum"):
        images = root / "leftImg8bit_sequence" / "train" / city
        write_images(images, video, city + "_000002_{:06d}_leftImg8bit.png")
        cameras = root / "camera" / "train" / city
        cameras.mkdir(parents=True)
        K = video.intrinsics
        intrinsic = {"fx": K[0, 0], "fy": K[1, 1], "u0": K[0, 2], "v0": K[1, 2]}
        (cameras / f"{city}_000002_000002_camera.json").write_text(json.dumps({"intrinsic": intrinsic}))


def write_rgbd_tree(root: Path, video: Street) -> None:
    folder = root / "street" / "seq-01"
    write_images(folder, video, "frame-{:06d}.color.png")
    (root / "street" / "camera-intrinsics.txt").write_text("\n".join(map(text, video.intrinsics)))
    for frame in range(video.frames):
        write_depth_png(folder / f"frame-{frame:06d}.depth.png", true_depth(video, frame), 1000.0)
        rows = "\n".join(map(text, video.camera_to_world(frame)))
        (folder / f"frame-{frame:06d}.pose.txt").write_text(rows)


def write_folder_tree(root: Path, video: Street) -> None:
    scene = root / "street"
    write_images(scene, video, "{:06d}.png")
    (scene / "depth").mkdir()
    for frame in range(video.frames):
        write_depth_png(scene / "depth" / f"{frame:06d}.png", true_depth(video, frame), 256.0)
    (scene / "cam.txt").write_text("\n".join(map(text, video.intrinsics)))
    poses = [video.camera_to_world(frame)[:3] for frame in range(video.frames)]
    (scene / "poses.txt").write_text("".join(f"{text(pose)}\n" for pose in poses))


def rigid(rotation: np.ndarray, translation=(0.0, 0.0, 0.0)) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, translation
    return pose
