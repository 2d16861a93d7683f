"""GLNet: shapes, exact inverses, where K comes from, batches of any size, reproducible starts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from glnet_tf.config import ModelConfig
from glnet_tf.geometry.camera import intrinsics_from_field_of_view, resize_intrinsics
from glnet_tf.models import glnet
from glnet_tf.models.camera_net import camera_intrinsics, initial_parameters, intrinsics_from_parameters
from glnet_tf.models.depth_net import MAX_DISPARITY, MIN_DISPARITY
from glnet_tf.models.glnet import GLNet
from glnet_tf.structures import PAIRS, REVERSE, Predictions, Snippet

HEIGHT, WIDTH = 64, 96
K = np.array([[70.0, 0, 47.0], [0, 71.0, 31.0], [0, 0, 1]], np.float32)


def config(intrinsics: str, flow_net: str = "stacked") -> ModelConfig:
    networks = {"encoder": "efficientnet_lite0", "encoder_weights": "none", "camera_net": "regressed"}
    return ModelConfig(**networks, intrinsics=intrinsics, flow_net=flow_net)


def snippet(
    batch: int = 2, height: int = HEIGHT, width: int = WIDTH, camera: tuple = (), mirrored: tuple = ()
) -> Snippet:
    """A picture of blobs for each snippet, which moves by two pixels a frame."""
    blobs = np.random.default_rng(0).uniform(size=(batch, height // 4, width // 4, 3)).astype(np.float32)
    picture = tf.image.resize(blobs, (height, width), "bicubic")
    return Snippet(
        images=tf.clip_by_value(tf.stack([tf.roll(picture, 2 * i, axis=2) for i in range(3)], axis=1), 0, 1),
        intrinsics=tf.constant(np.tile(K, (batch, 1, 1))),
        camera=tf.constant(camera or [0] * batch, tf.int32),
        index=tf.range(batch, dtype=tf.int64),
        mirrored=tf.constant(mirrored or [False] * batch),
    )


def seeded(seed: int, flow_net: str) -> GLNet:
    keras.utils.set_random_seed(seed)
    model = GLNet(config("predicted", flow_net), 1, HEIGHT, WIDTH)
    model.build_variables()
    return model


@pytest.fixture(scope="module", params=["stacked", "matching", "pwc"])
def flow_net(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(flow_net) -> GLNet:
    return seeded(3, flow_net)


@pytest.fixture(scope="module")
def predictions(model) -> Predictions:
    return model(snippet())


def test_shapes_of_all_levels(predictions):
    for level in range(4):
        h, w = HEIGHT >> level, WIDTH >> level
        assert predictions.disparities[level].shape == (2, 3, h, w, 1)
        assert predictions.flows[level].shape == (2, 4, h, w, 2)
    assert len(predictions.disparities) == len(predictions.flows) == 4
    assert predictions.poses.shape == (2, 4, 4, 4) and predictions.intrinsics.shape == (2, 3, 3)
    assert all(x.dtype == tf.float32 for x in tf.nest.flatten(tuple(predictions)))


def test_inverse_depth_is_within_its_range(predictions):
    for disparity in predictions.disparities:
        assert np.min(disparity) >= MIN_DISPARITY and np.max(disparity) <= MAX_DISPARITY


def test_poses_of_reverse_pairs_are_exact_inverses(predictions):
    for k, reverse in enumerate(REVERSE):
        assert PAIRS[reverse] == PAIRS[k][::-1]
        product = tf.matmul(predictions.poses[:, k], predictions.poses[:, reverse])
        np.testing.assert_allclose(product, np.tile(np.eye(4), (2, 1, 1)), atol=1e-7)
    # Nor are they trivially so: the two motions differ, and neither is none.
    assert np.abs(predictions.poses[:, 1] - predictions.poses[:, 2]).max() > 1e-7
    assert np.abs(predictions.poses - np.eye(4)).max() > 1e-7


def test_pairs_see_their_own_frames(model):
    """With the frames in reverse order, pair (a, b) sees what pair (2 - a, 2 - b) saw."""
    given = snippet(1)
    ahead, back = model(given), model(given._replace(images=given.images[:, ::-1]))
    for k, (a, b) in enumerate(PAIRS):
        mirror = PAIRS.index((2 - a, 2 - b))
        np.testing.assert_allclose(back.flows[0][:, k], ahead.flows[0][:, mirror], atol=1e-4)
    np.testing.assert_allclose(back.disparities[0], ahead.disparities[0][:, ::-1], atol=1e-4)
    assert np.abs(ahead.flows[0][:, 0] - ahead.flows[0][:, 1]).max() > 1e-4


def test_flow_of_the_pairs_in_the_order_of_time_alone(model, predictions):
    ahead = model.flow_net(snippet().images, forward_only=True)
    for part, whole in zip(ahead, predictions.flows):
        np.testing.assert_allclose(part, whole[:, :2], atol=2e-3)


def test_snippets_of_a_batch_do_not_mix(model, predictions):
    given = snippet()
    alone = model(Snippet(*(field[1:] for field in given)))
    for whole, part in zip(tf.nest.flatten(tuple(predictions)), tf.nest.flatten(tuple(alone))):
        np.testing.assert_allclose(part[0], whole[1], atol=2e-3)


def test_unknown_batch_size_and_levels_under_tf_function(model, predictions):
    shapes = Snippet(
        images=tf.TensorSpec([None, 3, HEIGHT, WIDTH, 3], tf.float32),
        intrinsics=tf.TensorSpec([None, 3, 3], tf.float32),
        camera=tf.TensorSpec([None], tf.int32),
        index=tf.TensorSpec([None], tf.int64),
        mirrored=tf.TensorSpec([None], tf.bool),
    )
    compiled = tf.function(lambda s: model(s), input_signature=[shapes], autograph=False)
    for batch in (2, 1):
        result = compiled(Snippet(*(field[:batch] for field in snippet())))
        for graph, eager in zip(tf.nest.flatten(tuple(result)), tf.nest.flatten(tuple(predictions))):
            np.testing.assert_allclose(graph, eager[:batch], atol=2e-3)


def test_same_seed_same_weights(model, flow_net):
    again = seeded(3, flow_net)
    assert len(again.weights) == len(model.weights) > 300
    for a, b in zip(again.weights, model.weights):
        np.testing.assert_array_equal(a, b, err_msg=a.name)


class NoDepth(keras.Model):
    """Stands in for DepthNet where only the intrinsics are asked for."""

    def call(self, images: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, ...]:
        return tuple(images[:, :: 2**level, :: 2**level, :1] for level in range(4))


class NoFlow(keras.Model):
    """Stands in for FlowNet likewise."""

    def call(self, images: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, ...]:
        pairs = tf.gather(images, [0, 1, 1, 2], axis=1)
        return tuple(pairs[:, :, :: 2**level, :: 2**level, :2] for level in range(4))


@pytest.fixture
def light(monkeypatch):
    """light(intrinsics, cameras): GLNet without depth and flow."""
    monkeypatch.setattr(glnet, "DepthNet", lambda _: NoDepth())
    monkeypatch.setattr(glnet, "FLOW_NETS", {"stacked": lambda _: NoFlow()})

    def make(intrinsics: str, cameras: int = 1) -> GLNet:
        return GLNet(config(intrinsics), cameras, HEIGHT, WIDTH)

    return make


# The default field of view, 72 degrees, at this size.
START = intrinsics_from_field_of_view(72.0, HEIGHT, WIDTH).numpy()


def test_given_intrinsics_are_those_of_the_data(light):
    model = light("given")
    np.testing.assert_array_equal(model(snippet()).intrinsics, [K, K])
    assert model.camera_parameters is None and model.camera_net.intrinsics is None


def test_fixed_field_of_view(light):
    model = light("fov")
    np.testing.assert_allclose(model(snippet(3)).intrinsics, [START] * 3, rtol=1e-6)
    assert model.camera_parameters is None


def test_learned_intrinsics_start_at_the_field_of_view_with_one_k_per_camera(light):
    model = light("learned", cameras=2)
    np.testing.assert_allclose(model(snippet(2, camera=(0, 1))).intrinsics, [START, START], rtol=1e-5)
    assert model.camera_parameters.shape == (2, 4)
    model.camera_parameters.assign_add([[0.0, 0, 0, 0], [0.3, -20.0, 1.0, 0.5]])
    first, second = model(snippet(2, camera=(0, 1))).intrinsics.numpy()
    np.testing.assert_allclose(first, START, rtol=1e-5)
    # fy follows fx, but for the pixel's shape.
    np.testing.assert_allclose(second[1, 1] / second[0, 0], np.exp(-0.2), rtol=1e-5)
    np.testing.assert_allclose(second[:2, 2] - START[:2, 2], [0.1 * WIDTH, 0.05 * HEIGHT], rtol=1e-4)
    assert second[0, 0] > START[0, 0] + 1


def test_pixels_are_square_in_the_images_that_were_filmed():
    """16:9 frames resized to a wide strip: fx and fy are shrunk by what width and height are."""
    wide = dataclasses.replace(config("learned"), field_of_view=90)
    K = GLNet(wide, 2, 128, 416, (1920 / 1080, 416 / 128)).learned_intrinsics().numpy()
    np.testing.assert_allclose(K[0, [0, 1], [0, 1]], [960 * 416 / 1920, 960 * 128 / 1080], rtol=1e-5)
    np.testing.assert_allclose(K[1, [0, 1], [0, 1]], [208, 208], rtol=1e-5)


def test_a_camera_never_trained_on_takes_the_mean(light):
    model = light("learned", cameras=2)
    parameters = np.array([[0.5, 0.6, 0.1, 0.0], [0.7, 0.2, -0.3, 0.2]], np.float32)
    model.camera_parameters.assign(parameters)
    shape = tf.constant([WIDTH / HEIGHT])
    # Its pixels are as the snippet's K says.
    own = shape * K[1, 1] / K[0, 0]
    expected = camera_intrinsics(tf.constant(parameters.mean(axis=0, keepdims=True)), own, HEIGHT, WIDTH)
    unseen, known = model(snippet(2, camera=(-1, 1))).intrinsics
    np.testing.assert_allclose(unseen, expected[0], rtol=1e-6)
    np.testing.assert_allclose(known, camera_intrinsics(parameters[1:], shape, HEIGHT, WIDTH)[0], rtol=1e-6)


def test_only_the_camera_that_filmed_gets_a_gradient(light):
    model = light("learned", cameras=2)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model(snippet(1, camera=(1,))).intrinsics)
    gradient = tf.convert_to_tensor(tape.gradient(total, model.camera_parameters)).numpy()
    np.testing.assert_array_equal(gradient[0], 0)
    assert np.all(gradient[1] > 0)


def test_learned_intrinsics_follow_the_mirrored_image(light):
    model = light("learned")
    model.camera_parameters.assign([[0.5, 0.6, 1.0, 0.5]])
    plain, mirrored = model(snippet(2, mirrored=(False, True))).intrinsics.numpy()
    expected = plain.copy()
    expected[0, 2] = WIDTH - 1 - plain[0, 2]
    assert abs(plain[0, 2] - (WIDTH - 1) / 2) > 5
    np.testing.assert_allclose(mirrored, expected, rtol=1e-6)


def test_predicted_intrinsics_start_around_the_field_of_view_and_depend_on_the_images(light):
    keras.utils.set_random_seed(0)
    model = light("predicted")
    given = snippet()
    predicted = model(given).intrinsics.numpy()
    assert np.abs(predicted[0] - predicted[1]).max() > 1e-3
    np.testing.assert_allclose(predicted, [START, START], rtol=0.3, atol=12)
    np.testing.assert_array_equal(predicted[:, [0, 1, 2, 2, 2], [1, 0, 0, 1, 2]], [[0, 0, 0, 0, 1]] * 2)
    kernel = model.camera_net.intrinsics.kernel
    kernel.assign(tf.zeros_like(kernel))
    np.testing.assert_allclose(model(given).intrinsics, [START, START], rtol=1e-5)


@pytest.mark.parametrize("source", ["learned", "fov"])
def test_intrinsics_scale_with_the_image(light, source):
    model = light(source)
    if source == "learned":
        model.camera_parameters.assign_add([[0.1, -0.1, 0.2, 0.3]])
    small, large = model(snippet(1)).intrinsics, model(snippet(1, 128, 192)).intrinsics
    np.testing.assert_allclose(large, resize_intrinsics(small, (HEIGHT, WIDTH), (128, 192)), rtol=1e-5)


def test_initial_parameters_give_square_pixels_and_a_centred_image():
    made = intrinsics_from_parameters(tf.constant([initial_parameters(60.0, 128, 416)]), 128, 416)
    np.testing.assert_allclose(made[0], intrinsics_from_field_of_view(60.0, 128, 416), rtol=1e-6)


def test_an_unseen_camera_has_pixels_as_square_as_its_own_image():
    """Images of 16:9 in a network of 3:1: fy is not fx, whatever the shape of the cameras that K was learned from."""
    for source in ("learned", "fov"):
        model = GLNet(config(source), 1, 64, 192, shapes=[2.0])
        snippet = Snippet(
            tf.zeros([1, 3, 64, 192, 3]),
            intrinsics_from_field_of_view(50.0, 64, 192, tf.constant([16 / 9])),
            tf.constant([-1]), tf.zeros([1], tf.int64), tf.constant([False]),
        )  # fmt: skip
        intrinsics = model._intrinsics(snippet, None)[0].numpy()
        assert intrinsics[1, 1] / intrinsics[0, 0] == pytest.approx(16 / 9 * 64 / 192, rel=1e-5)
        of_known = model._intrinsics(snippet._replace(camera=tf.constant([0])), None)[0].numpy()
        assert of_known[1, 1] / of_known[0, 0] == pytest.approx(2 * 64 / 192, rel=1e-5)
