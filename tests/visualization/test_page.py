"""report.html in a real browser, where there is one."""

from __future__ import annotations

import base64
import html
import io
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
import trimesh

from glnet_tf.structures import FramePrediction
from glnet_tf.visualization.page import MAX_FRAMES, FrameStrip, Table, chart, path_from_above, write_report
from glnet_tf.visualization.plots import write_trajectory_plot
from glnet_tf.visualization.point_cloud import PointCloud

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# The page in a frame as narrow as a telephone; what it does is noted where --dump-dom shows it.
HARNESS = """<!doctype html><iframe id="page" width="390" height="800" srcdoc="{page}"></iframe><pre id="found"></pre>
<script>
const errors = [], page = document.getElementById("page");
page.addEventListener("load", async () => {{
  const inside = page.contentDocument, found = {{}};
  page.contentWindow.addEventListener("error", event => errors.push(event.message));
  const image = inside.querySelector("[data-layer=depth]"), slider = inside.getElementById("frame");
  const first = image.src;
  slider.value = 2;
  slider.dispatchEvent(new Event("input"));
  await image.decode();
  found.changed = image.src !== first;
  found.name = inside.getElementById("name").textContent;
  found.width = image.naturalWidth;
  const edge = inside.getElementById("wipe");
  edge.value = 30;
  edge.dispatchEvent(new Event("input"));
  found.clip = inside.getElementById("right").style.clipPath;
  const pair = inside.getElementById("pair"), left = inside.getElementById("left");
  found.pairs = [...pair.options].map(option => option.value);
  const frame = left.src;
  pair.value = "depth_before,depth";
  pair.dispatchEvent(new Event("change"));
  found.compared = left.src !== frame;
  const box = inside.querySelector(".wipe"), place = box.getBoundingClientRect();
  box.dispatchEvent(new PointerEvent("pointerdown", {{ clientX: place.left + place.width * 0.8, buttons: 1 }}));
  found.dragged = Number(edge.value);
  inside.getElementById("play").click();
  await new Promise(resolve => setTimeout(resolve, 700));
  inside.getElementById("play").click();
  found.played = Number(slider.value);
  const cloud = inside.querySelector("iframe").contentDocument.querySelector("canvas");
  found.cloud = cloud ? cloud.width : 0;
  found.scrolled = inside.documentElement.scrollWidth - inside.documentElement.clientWidth;
  found.errors = errors;
  document.getElementById("found").textContent = JSON.stringify(found);
}});
</script>"""


def pictures(level: int) -> dict[str, np.ndarray]:
    return {
        name: np.full((30, 100, 3), (37 * level + 90 * k) % 256, np.uint8)
        for k, name in enumerate(("frame", "depth", "depth_before", "confidence", "flow", "moving"))
    }


def write(file) -> None:
    strip = FrameStrip()
    for level in range(5):
        strip.add(f"frame-with-a-long-name-{level:040d}", pictures(level), score=float(level == 1))
    path = np.tile(np.eye(4), (5, 1, 1))
    path[:, 2, 3] = range(5)
    charts = [
        ("path", path_from_above({"camera": path}, "metres")),
        ("fx", chart({"fx": ([0, 1], [700, 701])}, "frame", "pixels", ("shared", 700.5))),
    ]
    wide = Table("Errors", [f"column{i}" for i in range(12)], [["0.12345"] * 12] * 2, "<b>protocol</b>")
    write_report(file, "A <video>", ["a line"], strip.frames, charts, [wide], cloud_of(5).viewer(path))


def cloud_of(count: int) -> PointCloud:
    """Points of a wall ahead."""
    cloud, ones = PointCloud(), np.ones((count, count), np.float32)
    frame = FramePrediction(
        np.full((count, count, 3), 90, np.uint8), ones, ones, None, None, None, np.eye(4), np.eye(3)
    )
    cloud.add(frame)
    return cloud


def test_the_page_is_one_file_and_escapes_what_it_is_told(tmp_path):
    write(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "A &lt;video&gt;" in page and "<b>protocol" not in page
    own = re.sub(r'srcdoc=".*?"', "", page, flags=re.DOTALL)
    assert len(own) < len(page) / 2
    assert not re.search(r"(src|href)=\"(?!data:)", own) and "url(" not in own and "import " not in own
    assert not re.search(r"(src|href)=&#34;", page)
    assert 'value="1" aria-label="frame"' in page  # it opens with the best


def test_a_cloud_is_seen_from_behind(tmp_path):
    """The wall lies ahead of the camera that looks at it, whichever way up axes point."""
    page = cloud_of(5).viewer(np.tile(np.eye(4), (2, 1, 1)))
    data = base64.b64decode(re.search(r'base64_data="([^"]+)"', page)[1])
    scene = trimesh.load(io.BytesIO(data), file_type="glb")
    (cloud,) = (x for x in scene.geometry.values() if isinstance(x, trimesh.PointCloud))
    assert len(cloud.vertices) == 25 and (cloud.vertices[:, 2] < 0).all() and (cloud.colors[:, :3] == 90).all()
    assert "new THREE.PointsMaterial({size: 3})" in page
    assert PointCloud().viewer(np.eye(4)[np.newaxis]) == ""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_in_a_browser(tmp_path):
    write(tmp_path / "report.html")
    harness = tmp_path / "harness.html"
    harness.write_text(HARNESS.format(page=html.escape((tmp_path / "report.html").read_text(), quote=True)))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [CHROMIUM, *flags, profile, "--virtual-time-budget=5000", "--enable-logging=stderr", "--dump-dom",
         harness.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    # Chromium without a GPU has remarks of its own about WebGL.
    assert not [x for x in done.stderr.splitlines() if "CONSOLE" in x and "WebGL" not in x], done.stderr
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', done.stdout)[1]))
    assert found["changed"] and found["name"].endswith("2") and found["width"] == 100
    assert found["pairs"] == ["frame,depth", "depth_before,depth", "depth,confidence"] and found["compared"]
    assert 79 <= found["dragged"] <= 81 and found["played"] != 2 and found["cloud"] > 0
    assert "30%" in found["clip"] and found["scrolled"] <= 0 and found["errors"] == []


def test_a_strip_stays_bounded_and_even():
    strip = FrameStrip()
    for number in range(500):
        strip.add(str(number), {"frame": np.zeros((2, 2, 3), np.uint8)})
    numbers = np.array([int(frame.name) for frame in strip.frames])
    assert MAX_FRAMES / 2 <= len(numbers) <= MAX_FRAMES and numbers[0] == 0 and len(set(np.diff(numbers))) == 1


def test_names_are_drawn_as_they_are(tmp_path):
    poses = np.tile(np.eye(4), (3, 1, 1))
    for name in (r"$\frac{1}{$", "$x$", os.fsdecode(b"a\xff")):
        assert chart({name: ([1], [2]), "b": ([1], [2])}, "x", "y").startswith("data:image/png")
        path_from_above({name: poses}, "m")
        write_trajectory_plot(tmp_path / "a.png", {name: poses})
    write_report(tmp_path / "a.html", os.fsdecode(b"a\xff"))
    assert "a?" in (tmp_path / "a.html").read_text()
    # Not even where it is TeX without a mistake.
    italic, plain = (chart({name: ([1], [2]), "b": ([1], [2])}, "x", "y") for name in ("$x$", "$x"))
    assert len(italic) > len(plain)
