"""Pictures: colours that can be told in one's head, sheets, and files that are complete or absent."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from PIL import Image

from glnet_tf.errors import DataError
from glnet_tf.visualization.pictures import (
    FLOW_COLOUR,
    GAP,
    RIGID_COLOUR,
    branch_picture,
    depth_picture,
    flow_picture,
    flow_scale,
    image_picture,
    mask_picture,
    tile,
    write_png,
)

GREY = [128, 128, 128]


def colour_of(u, v, largest=1.0):
    return flow_picture(np.array([[[u, v]]], np.float32), largest)[0, 0]


def hue_of(u, v):
    return 360 * colorsys.rgb_to_hsv(*(colour_of(u, v) / 255))[0]


def test_image_picture_reaches_both_ends_and_clips():
    shades = np.array([-1, 0, 0.5, 1, 2], np.float32)[np.newaxis, :, np.newaxis].repeat(3, axis=2)
    assert image_picture(shades)[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_nearer_is_brighter():
    depths = np.array([[1.0, 2.0, 4.0, 8.0, 16.0, 32.0]])
    brightness = depth_picture(1 / depths).sum(axis=-1)[0].astype(int)
    assert (np.diff(brightness) < 0).all()


def test_depth_scale_is_the_one_given():
    picture = depth_picture(np.array([[0.1, 0.2, 0.3, 0.4]]), low=0.2, high=0.3)
    assert (picture[0, 0] == picture[0, 1]).all() and (picture[0, 2] == picture[0, 3]).all()
    assert picture[0, 1].sum() < picture[0, 2].sum()


def test_one_outlier_does_not_flatten_the_depth():
    disparity = np.linspace(0.1, 1.0, 400).reshape(20, 20)
    expected = depth_picture(disparity)
    disparity[0, 0] = 1e4
    shift = np.abs(depth_picture(disparity)[1:-1].astype(int) - expected[1:-1]).max()
    assert shift <= 8


def test_unknown_values_are_grey_and_leave_the_others_alone():
    values = np.linspace(0.1, 1.0, 25).reshape(5, 5)
    with_unknown = np.vstack([values, [np.nan, np.inf, -np.inf, np.nan, np.nan]])
    assert (depth_picture(with_unknown)[:5] == depth_picture(values)).all()
    assert (depth_picture(with_unknown)[5] == GREY).all()
    assert (depth_picture(np.full((2, 3), np.nan)) == GREY).all()


def test_flat_depth_is_one_colour():
    picture = depth_picture(np.full((4, 5), 0.3))
    assert picture.shape == (4, 5, 3) and picture.dtype == np.uint8 and (picture == picture[0, 0]).all()


def test_no_motion_is_white():
    assert (flow_picture(np.zeros((3, 4, 2), np.float32)) == 255).all()
    assert colour_of(0, 0).tolist() == [255, 255, 255]


def test_motion_to_the_right_is_red_and_paler_when_slower():
    assert colour_of(1, 0).tolist() == [255, 0, 0]
    assert colour_of(0.5, 0).tolist() == [255, 128, 128]
    assert colour_of(3, 0).tolist() == [191, 0, 0]


@pytest.mark.parametrize(
    ("step", "colour"),
    [
        (0, [255, 0, 0]),
        (15, [255, 255, 0]),
        (21, [0, 255, 0]),
        (25, [0, 255, 255]),
        (36, [0, 0, 255]),
        (49, [255, 0, 255]),
    ],
)
def test_the_wheel_has_its_pure_colours_at_the_published_places(step, colour):
    angle = 2 * np.pi * step / 55
    assert np.abs(colour_of(np.cos(angle), np.sin(angle)).astype(int) - colour).max() <= 1


def test_down_is_yellow_left_is_cyan_up_is_violet():
    assert hue_of(0, 1) == pytest.approx(55, abs=2)
    assert hue_of(-1, 0) == pytest.approx(180 + 60 * 2.5 / 11, abs=2)
    assert hue_of(0, -1) == pytest.approx(240 + 60 * 5.25 / 13, abs=2)


def test_opposite_directions_are_opposite_colours():
    # The wheel's colours are spaced by what the eye tells apart, so opposites are 180 degrees apart on average only.
    differences = []
    for angle in np.linspace(0, 2 * np.pi, 72, endpoint=False):
        u, v = np.cos(angle), np.sin(angle)
        differences.append((hue_of(u, v) - hue_of(-u, -v)) % 360)
    assert np.abs(np.array(differences) - 180).max() < 36
    assert np.mean(differences) == pytest.approx(180, abs=1)


def test_the_wheel_has_no_seam():
    angles = np.linspace(-np.pi, np.pi, 3601)
    colours = flow_picture(np.stack([np.cos(angles), np.sin(angles)], axis=-1)[np.newaxis], 1.0)[0].astype(int)
    assert np.abs(np.diff(colours, axis=0)).max() <= 2
    assert (colours[0] == colours[-1]).all()


def test_unknown_flow_is_black_and_does_not_set_the_scale():
    flow = np.full((2, 2, 2), 3.0, np.float32)
    flow[0, 0] = np.nan, 0
    flow[0, 1] = 1, np.inf
    picture = flow_picture(flow)
    assert (picture[0] == 0).all() and (picture[1] == flow_picture(flow[1:], 3 * np.sqrt(2))[0]).all()
    assert flow_scale(flow) == pytest.approx(3 * np.sqrt(2))


def test_flow_scale_is_common_ignores_outliers_and_is_a_pixel_at_least():
    slow, fast = np.full((40, 40, 2), [0.3, 0.4]), np.full((40, 40, 2), [3.0, 4.0])
    assert flow_scale(slow) == 1.0
    assert flow_scale(slow, fast) == pytest.approx(5.0)
    slow[0, 0] = 1e6
    assert flow_scale(slow) == 1.0
    assert flow_scale(np.full((2, 2, 2), np.nan)) == 1.0


def test_mask_picture_keeps_what_is_set_and_reddens_the_rest():
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    mask = np.zeros((4, 6))
    mask[:, :3] = 1
    picture = mask_picture(mask, image)
    assert (picture[:, :3] == image[:, :3]).all()
    hidden = picture[:, 3:].astype(int)
    assert (hidden[..., 0] > hidden[..., 1] + 50).all() and (hidden[..., 0] > hidden[..., 2] + 50).all()


def test_branch_picture_names_the_winner():
    picture = branch_picture(np.array([[1.0, 1.0, 0.0, 0.0]]), np.array([[1.0, 0.0, 1.0, 0.0]]))
    assert picture[0].tolist() == [list(RIGID_COLOUR), list(RIGID_COLOUR), list(FLOW_COLOUR), [0, 0, 0]]


def test_a_sheet_without_captions_holds_every_picture_where_it_belongs():
    pictures = [np.full((8, 12, 3), shade, np.uint8) for shade in (10, 20, 30)]
    sheet = tile([pictures[:2], pictures[2:]])
    assert sheet.shape == (2 * 8 + 3 * GAP, 2 * 12 + 3 * GAP, 3) and sheet.dtype == np.uint8
    assert (sheet[GAP : GAP + 8, GAP : GAP + 12] == 10).all()
    assert (sheet[GAP : GAP + 8, 2 * GAP + 12 : 2 * GAP + 24] == 20).all()
    assert (sheet[2 * GAP + 8 : 2 * GAP + 16, GAP : GAP + 12] == 30).all()
    assert (sheet[2 * GAP + 8 :, 2 * GAP + 12 :] == 255).all()


def test_captions_stand_above_their_picture_and_within_its_width():
    picture = np.full((40, 200, 3), 255, np.uint8)
    sheet = tile([[picture, picture]], [["a caption that is too long for a picture this narrow", ""]])
    inked = np.argwhere(sheet.min(axis=-1) < 128)
    strip = sheet.shape[0] - 40 - 2 * GAP
    assert 8 < strip < 40
    assert len(inked) > 50
    assert inked[:, 0].max() < GAP + strip
    assert inked[:, 1].max() <= GAP + 200


def test_pictures_keep_their_pixels_below_captions():
    picture = np.random.default_rng(0).integers(0, 256, (30, 90, 3), dtype=np.uint8)
    sheet = tile([[picture], [picture]], [["one, gjpqy"], ["two, gjpqy"]])
    assert (sheet[-30 - GAP : -GAP, GAP:-GAP] == picture).all()
    strip = (sheet.shape[0] - 3 * GAP - 60) // 2
    assert (sheet[GAP + strip : GAP + strip + 30, GAP:-GAP] == picture).all()


def test_a_sheet_refuses_mixed_sizes_and_missing_captions():
    small, large = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(ValueError, match="sizes"):
        tile([[small, large]])
    with pytest.raises(ValueError, match="captions"):
        tile([[small, small]], [["only one"]])


def test_png_comes_back_unchanged_from_a_new_folder(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    path = tmp_path / "not" / "there" / "picture.png"
    write_png(path, np.zeros((3, 3, 3), np.uint8))
    write_png(str(path), picture)
    assert (np.asarray(Image.open(path)) == picture).all()
    assert [entry.name for entry in path.parent.iterdir()] == ["picture.png"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    write_png(path, np.zeros((3, 3, 3), np.uint8))
    before = path.read_bytes()

    def fail(self, target, format, **_):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(DataError, match=r"picture\.png: cannot be written \(No space left on device\)"):
        write_png(path, np.ones((3, 3, 3), np.uint8))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_file_in_place_of_the_folder_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="File exists: expected a writable folder"):
        write_png(tmp_path / "file" / "picture.png", np.zeros((3, 3, 3), np.uint8))
