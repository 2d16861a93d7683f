"""KITTI's LiDAR as ground-truth depth of an image, as it is published with the Eigen split: NumPy only."""

from __future__ import annotations

import numpy as np


def velodyne_projection(
    velo_to_cam_R: np.ndarray, velo_to_cam_T: np.ndarray, R_rect_00: np.ndarray, P_rect: np.ndarray
) -> np.ndarray:
    """Returns the projection from the velodyne's frame to an image: P_rect R_rect_00 [R | T].

    Args:
      velo_to_cam_R, velo_to_cam_T: [3, 3] and [3], metres: R and T of calib_velo_to_cam.txt.
      R_rect_00: [3, 3], of calib_cam_to_cam.txt.
      P_rect: [3, 4] in pixels, P_rect_02 for the left colour camera.

    Returns:
      [3, 4]: homogeneous points (x, y, z, 1) to (u w, v w, w), w the depth in metres.
    """
    velo_to_cam, rectify = np.eye(4), np.eye(4)
    velo_to_cam[:3, :3], velo_to_cam[:3, 3] = velo_to_cam_R, velo_to_cam_T
    rectify[:3, :3] = R_rect_00
    return P_rect @ rectify @ velo_to_cam


def lidar_depth(
    points: np.ndarray, projection: np.ndarray, height: int, width: int, velodyne_depth: bool = False
) -> np.ndarray:
    """Returns the depth map that a LiDAR scan gives for an image.

    A point falls on column round(u) - 1 and row round(v) - 1, and the nearest point of a pixel counts, as in the
    evaluation published with Godard et al. (CVPR 2017). Points behind the velodyne or the camera are left out.

    Args:
      points: [N, 3] or [N, 4] x (forward), y, z in metres in the velodyne's frame; a fourth column is not used.
      projection: [3, 4], from velodyne_projection.
      height, width: of the image.
      velodyne_depth: whether depth is the point's x in the velodyne's frame, as in the published tables, instead of
        its z in the camera's; KITTI's velodyne is 0.27 m behind the camera.

    Returns:
      [H, W] float32 metres, 0 where there is none.
    """
    ahead = points[points[:, 0] >= 0, :3].astype(np.float64)
    projected = ahead @ projection[:, :3].T + projection[:, 3]
    front = projected[:, 2] > 0
    ahead, projected = ahead[front], projected[front]
    column, row = np.round(projected[:, :2] / projected[:, 2:]).T - 1
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    values = ahead[inside, 0] if velodyne_depth else projected[inside, 2]
    depth = np.full((height, width), np.inf)
    np.minimum.at(depth, (row[inside].astype(int), column[inside].astype(int)), values)
    return np.where(np.isfinite(depth), depth, 0).astype(np.float32)
