"""Real data held against independent methods: what a loader calls the truth explains what the cameras saw."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.config import DataConfig, KittiConfig, RefinementConfig
from glnet_tf.data.datasets.flow_pairs import KittiFlowSource, MiddleburyFlowSource
from glnet_tf.data.datasets.kitti import KittiOdometrySource, KittiRawSource
from glnet_tf.data.datasets.rgbd import RgbdSource
from glnet_tf.data.files.calibration import read_projection
from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.geometry.rigid import rigid_correspondence
from glnet_tf.geometry.sampling import warp
from glnet_tf.inference.predictor import Predictor
from glnet_tf.inference.source_prediction import predict_source
from glnet_tf.metrics.odometry import rotation_error

pytestmark = pytest.mark.skipif(not os.environ.get("GLNET_DATA"), reason="GLNET_DATA names no folder with real data")
DATA = Path(os.environ.get("GLNET_DATA", "."))


def images_of(source, index: int) -> np.ndarray:
    return source.load(tf.constant(index, tf.int64))[0].numpy()


def warped_error(a: np.ndarray, b: np.ndarray, pixels: tf.Tensor, valid: np.ndarray) -> float:
    """Mean absolute difference of image a and image b, [H, W, 3] uint8, sampled at pixels, [H, W, 2], where valid."""
    sampled, inside = warp(tf.cast(b[np.newaxis], tf.float32), pixels[tf.newaxis])
    where = valid & (inside[0, ..., 0].numpy() > 0)
    return float(np.abs(sampled[0].numpy() - a)[where].mean())


def test_lidar_depth_agrees_with_stereo():
    config = DataConfig(kitti=KittiConfig(kitti_camera="both"), cache_dir="")
    source = KittiRawSource(DATA / "kitti_raw", "2011_09_26_drive_0048_sync", "frames", config)
    right = KittiRawSource(DATA / "kitti_raw", "2011_09_26_drive_0048_sync/image_03", "frames", config)
    calibration = DATA / "kitti_raw" / "2011_09_26" / "calib_cam_to_cam.txt"
    left_P, right_P = (read_projection(calibration, f"P_rect_{camera}") for camera in ("02", "03"))
    focal_times_baseline = left_P[0, 3] - right_P[0, 3]
    matcher = cv2.StereoSGBM_create(0, 128, 5, 8 * 3 * 25, 32 * 3 * 25, 1, 0, 10, 100, 2)
    differences = []
    for frame in range(3):
        disparity = matcher.compute(images_of(source, frame)[1], images_of(right, frame)[1]) / 16.0
        depth = source.ground_truth(frame).depth
        both = (depth > 0) & (disparity > 1)
        assert both.sum() > 5000
        stereo = focal_times_baseline / disparity[both]
        differences.append(np.median(np.abs(stereo - depth[both]) / depth[both]))
    print(f"LiDAR against stereo: median relative difference {np.round(differences, 4)}")
    assert max(differences) < 0.05


@pytest.mark.parametrize(
    ("kind", "folder", "count"),
    [(KittiFlowSource, "kitti_flow_2012", 1), (MiddleburyFlowSource, "middlebury_flow", 3)],
)
def test_true_flow_explains_the_images(kind, folder, count):
    source = kind(DATA / folder, part="frames")
    found = 0
    for index in range(len(source)):
        truth = source.ground_truth(index)
        if truth is None:
            continue
        found += 1
        _, a, b = images_of(source, index)
        grid, valid = pixel_grid(*a.shape[:2]), truth.flow_valid
        before, after = (warped_error(a, b, grid + flow, valid) for flow in (0 * truth.flow, truth.flow))
        print(f"{source.label(index)}: {before:.2f} to {after:.2f} grey levels")
        assert after < before / 2
    assert found == count


def test_true_poses_agree_with_the_five_point_algorithm():
    source = KittiOdometrySource(DATA / "kitti_odometry", "00", "all")
    K = source.scenes[0].intrinsics
    detector, matcher = cv2.SIFT_create(2000), cv2.BFMatcher(cv2.NORM_L2, crossCheck=True)
    errors, turns = [], []
    for index in range(0, len(source), 12):
        _, a, b = images_of(source, index)
        (points_a, features_a), (points_b, features_b) = (
            detector.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None) for image in (a, b)
        )
        matches = matcher.match(features_a, features_b)
        pa = np.array([points_a[match.queryIdx].pt for match in matches])
        pb = np.array([points_b[match.trainIdx].pt for match in matches])
        E, inliers = cv2.findEssentialMat(pa, pb, K, cv2.RANSAC, 0.999, 0.5)
        _, R, _, _ = cv2.recoverPose(E, pa, pb, K, mask=inliers)
        true = source.ground_truth(index).poses[1]
        errors.append(rotation_error(true, R))
        turns.append(rotation_error(true, np.eye(3)))
    print(f"rotation against five points: median {np.median(errors):.3f} deg, turns of {np.median(turns):.3f} deg")
    assert np.median(errors) < 0.2 and np.median(errors) < np.median(turns) / 2


def test_the_motion_of_no_pair_in_a_turn_is_far_off():
    source = KittiOdometrySource(DATA / "kitti_odometry", "00", "all")
    predictor = Predictor("kitti-lite", RefinementConfig(refine="none"))
    errors = [
        rotation_error(source.ground_truth(found.number).poses[1], found.frame.motion[:3, :3])
        for batch in predict_source(predictor, source, DataConfig(), range(186, 194))
        for found in batch
        if found.number is not None
    ]
    print(f"rotation of each pair: {np.round(errors, 3)} deg")
    assert len(errors) == 8 and max(errors) < 0.25


def test_true_depth_and_poses_explain_indoor_frames():
    # Neighbouring frames hardly differ: ten apart, they do.
    source = RgbdSource(DATA / "seven_scenes_redkitchen", part="all", config=DataConfig(stride=10))
    K = tf.constant(source.scenes[0].intrinsics[np.newaxis], tf.float32)
    ratios = []
    for index in range(0, len(source), 40):
        _, a, b = images_of(source, index)
        truth = source.ground_truth(index)
        seen = rigid_correspondence(truth.depth[np.newaxis, ..., np.newaxis], K, truth.poses[np.newaxis, 1])
        valid = (truth.depth > 0) & (seen.valid[0, ..., 0].numpy() > 0)
        before = warped_error(a, b, pixel_grid(*a.shape[:2]), valid)
        ratios.append(warped_error(a, b, seen.pixels[0], valid) / before)
    print(f"7-Scenes: photometric error with true depth and pose, as a share of that without: {np.round(ratios, 3)}")
    assert np.median(ratios) < 0.5
