"""Draws frames of result folders: python tools/sheet.py --frame=FOLDER:NAME --frame=... --output=SHEET.png"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from absl import flags

from glnet_tf.cli.flagging import run
from glnet_tf.errors import ConfigError

LAYERS = {"frame": "", "depth_before": "as predicted", "depth": "refined", "confidence": "confidence", "flow": "flow"}

flags.DEFINE_multi_string(
    "frame", [], "FOLDER:NAME[:CAPTION], a frame in a folder of predict or refine; a row for each"
)
flags.DEFINE_string("output", "", "the sheet, PNG")
flags.DEFINE_integer("width", 320, "of each picture, pixels", lower_bound=32)
flags.DEFINE_float("aspect", 0.0, "height over width of each picture's place; 0: of the first frame's")


def main() -> None:
    given = flags.FLAGS
    if not (given.frame and given.output):
        raise ConfigError("--frame and --output: expected both")
    from glnet_tf.inference.result_folder import open_results
    from glnet_tf.inference.summary import Pictures
    from glnet_tf.visualization.pictures import tile, write_png

    rows, captions, height = [], [], round(given.aspect * given.width)
    for place in given.frame:
        folder, name, *caption = place.split(":")
        with open_results(Path(folder)) as results:
            if name not in results.rows:
                raise ConfigError(f"--frame={place}: {folder} holds no such frame; see its frames.jsonl")
            drawn = Pictures().draw(results.read(name))
        height = height or round(given.width * drawn["frame"].shape[0] / drawn["frame"].shape[1])
        # Where nothing was refined, and behind the last frame, to which nothing flows.
        drawn = {"depth_before": drawn["depth"], "flow": np.full_like(drawn["frame"], 255), **drawn}
        rows.append([fitted(drawn[layer], height, given.width) for layer in LAYERS])
        captions.append([*caption, name][:1] + [*LAYERS.values()][1:])
    write_png(given.output, tile(rows, captions))


def fitted(picture, height: int, width: int):  # type: ignore[no-untyped-def]
    """Returns a whole picture, [H, W, 3] uint8, on white paper of a size."""
    scale = min(height / picture.shape[0], width / picture.shape[1])
    size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    paper = np.full((height, width, 3), 255, np.uint8)
    paper[top : top + size[1], left : left + size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return paper


if __name__ == "__main__":
    run(main)
