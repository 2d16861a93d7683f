"""An exported model answers as the model does, where there is nothing but TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from glnet_tf.config import LossConfig, RefinementConfig
from glnet_tf.errors import DataError
from glnet_tf.geometry.camera import pixel_grid
from glnet_tf.geometry.sampling import warp
from glnet_tf.inference import export
from glnet_tf.structures import Predictions, merge, ordered_pairs, split

HEIGHT, WIDTH = 32, 96
ALONE = """
import sys
sys.modules.update(dict.fromkeys(["tensorflow_addons", "tensorflow_graphics", "glnet_tf", "cv2"]))
import numpy as np, tensorflow as tf
signatures = tf.saved_model.load(sys.argv[1]).signatures
assert set(signatures) == {"depth", "flow", "camera", "refine"}
images = tf.constant(np.load(sys.argv[2]))
unknown = tf.zeros([2, 3, 3])
said = {
    "depth": signatures["depth"](images=images[:, 0]),
    "flow": signatures["flow"](images=images[:, :2]),
    "camera": signatures["camera"](images=images[:, :2], intrinsics=unknown),
    "refine": signatures["refine"](images=images, intrinsics=unknown, iterations=tf.constant(3)),
}
np.savez(sys.argv[3], **{f"{name}_{key}": value for name, outputs in said.items() for key, value in outputs.items()})
"""


class Small:
    """Stands for a GLNet, whose graphs take minutes to trace and save: a parameter, and a warp."""

    image_size = (HEIGHT, WIDTH)
    field_of_view = 60.0
    source_of_intrinsics = "given"

    def __init__(self):
        self.gain = tf.Variable(2.0)
        self.variables = [self.gain]

    def depth_net(self, images):
        return [0.1 + self.gain * tf.reduce_mean(images, axis=-1, keepdims=True)]

    def flow_net(self, images):
        pairs = ordered_pairs(images.shape[1])
        pixels = pixel_grid(HEIGHT, WIDTH) + tf.zeros([tf.shape(images)[0], 1, 1, 1]) + 0.5
        return [tf.stack([warp(images[:, a], pixels)[0][..., :2] for a in pairs.first], axis=1)]

    def __call__(self, snippet, depth_size=None):
        motions = snippet.images.shape[1] - 1
        return Predictions(
            disparities=[split(self.depth_net(merge(snippet.images))[0], motions + 1)],
            flows=self.flow_net(snippet.images),
            poses=tf.eye(4, batch_shape=[tf.shape(snippet.images)[0], 2 * motions]),
            intrinsics=snippet.intrinsics,
        )


@pytest.mark.slow
def test_nothing_but_tensorflow_is_needed(tmp_path, monkeypatch):
    # OFT itself is tested elsewhere, and takes long to trace.
    monkeypatch.setattr(export, "make_output_refinement", lambda *_: lambda snippet, initial, *_: (initial, None, None))
    model = Small()
    folder = tmp_path / "served"
    differences = export.export_saved_model(model, LossConfig(), RefinementConfig(), folder)
    assert set(differences) == {
        "depth/disparity", "depth/depth", "flow/flow", "flow/flow_backward", "camera/pose", "camera/intrinsics",
        "refine/disparity", "refine/depth", "refine/flow", "refine/poses", "refine/intrinsics",
    }  # fmt: skip
    assert max(differences.values()) < 1e-5 and not list(tmp_path.glob("*.tmp"))

    images = np.random.default_rng(0).uniform(size=(2, 3, HEIGHT, WIDTH, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    files = [tmp_path / "images.npy", tmp_path / "said.npz"]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, folder, *files],
        capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with np.load(files[1]) as said:
        ours = model.depth_net(images[:, 0])[0]
        np.testing.assert_allclose(said["depth_disparity"], ours, rtol=1e-5)
        np.testing.assert_allclose(said["depth_depth"], 1 / ours, rtol=1e-5)
        assert said["flow_flow"].shape == (2, HEIGHT, WIDTH, 2) and said["camera_pose"].shape == (2, 4, 4)
        assert said["refine_depth"].shape == (2, HEIGHT, WIDTH, 1) and said["refine_poses"].shape == (2, 2, 4, 4)
        assert np.all(said["camera_intrinsics"][:, 0, 0] > 0)

    served = tf.saved_model.load(str(folder)).signatures["depth"]
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"\[1,32,64,3\] is not compatible with expected shape \[\?,32,96,3\]"
    ):
        served(images=tf.ones([1, HEIGHT, 64, 3]))
    with pytest.raises(DataError, match="exists already"):
        export.export_saved_model(model, LossConfig(), RefinementConfig(), folder)


@pytest.mark.slow
def test_a_free_size(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "make_output_refinement", lambda *_: lambda snippet, initial, *_: (initial, None, None))
    export.export_saved_model(Small(), LossConfig(), RefinementConfig(), tmp_path / "served", free_size=True)
    depth = tf.saved_model.load(str(tmp_path / "served")).signatures["depth"]
    assert depth(images=tf.ones([1, 64, 160, 3]))["depth"].shape == (1, 64, 160, 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="multiples of 32"):
        depth(images=tf.ones([1, 64, 150, 3]))


@pytest.mark.slow
def test_the_tool_asks_for_its_folders(tmp_path):
    tool = Path(__file__).resolve().parents[2] / "tools" / "export.py"
    done = subprocess.run([sys.executable, str(tool), "--run_dir=x"], capture_output=True, text=True)
    assert done.returncode == 2 and "--output_dir=: expected a folder" in done.stderr


def test_depth_as_tflite(tmp_path):
    whole, half = export.export_tflite(Small(), tmp_path)
    assert whole.difference < 1e-6 and half.difference < 1e-2
    for exported in (whole, half):
        assert exported.file.stat().st_size == exported.size
    interpreter = tf.lite.Interpreter(model_path=str(whole.file))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.ones((1, HEIGHT, WIDTH, 3), np.float32))
    interpreter.invoke()
    np.testing.assert_allclose(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), 2.1, rtol=1e-6)


def test_depth_as_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    pytest.importorskip("tf2onnx", reason="the extra export is not installed")
    (exported,) = export.export_onnx(Small(), tmp_path)
    assert exported.difference < 1e-6
    session = onnxruntime.InferenceSession(str(exported.file))
    said = session.run(None, {"images": np.ones((5, HEIGHT, WIDTH, 3), np.float32)})[0]
    np.testing.assert_allclose(said, np.full((5, HEIGHT, WIDTH, 1), 2.1), rtol=1e-6)
