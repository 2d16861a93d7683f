"""GLNet in four acts, by the commands as they are typed: predict, refine, train, judge; then a page about them."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import numpy as np

from glnet_tf.cli.calling import call_once
from glnet_tf.files import read_json, read_json_lines, write_json
from glnet_tf.inference.result_folder import open_results
from glnet_tf.inference.summary import Pictures
from glnet_tf.visualization.page import FrameStrip, Table, chart, path_from_above, write_report
from glnet_tf.visualization.point_cloud import PointCloud

# A road on which flow has little to hold on to, and faster than any in the training of street-lite; on those with the
# seeds of TEST nothing was ever trained, and no setting chosen.
ROADS = ("--dataset=street", "--street_style=highway")
TRAIN = ("--streets=24", "--street_frames=8", "--zoom=0.3", "--colour=0.2", "--batch_size=8", "--checkpoint_steps=100")
TEST = ("--streets=4", "--street_frames=30", "--street_seed=1000", "--every=7")


def demonstrate(folder: Path, clip: Path, steps: int) -> None:
    """Plays the acts that were not played yet, prints a line about each, and writes report.html.

    Args:
      folder: for everything; the same call goes on where it was interrupted.
      clip: the video of the first two acts.
      steps: of the training.
    """
    started = time.monotonic()
    predicted, refined, run = (folder / name for name in ("predicted", "refined", "run"))
    shipped, evaluated = folder / "shipped.json", folder / "evaluated"
    print("Act 1: depth, flow and motion of a motorway, by one uncalibrated camera", file=sys.stderr)
    play(predicted, "predict", f"--input={clip}", "--refine=none", f"--output_dir={predicted}")
    saw(f"{len(frames_of(predicted))} frames; look at {predicted / 'report.html'}")
    print("Act 2: what the motion proves about that depth corrects it", file=sys.stderr)
    play(refined, "predict", f"--input={clip}", "--refine=fusion", f"--output_dir={refined}")
    frames = frames_of(refined)
    kept = sum(bool(row["reason"]) for row in frames)
    saw(f"{len(frames) - kept} of {len(frames)} frames corrected, {kept} left as predicted; {refined / 'report.html'}")
    print("Act 3: training, without labels, on roads of a kind that street-lite never saw", file=sys.stderr)
    places = f"--cache_dir={folder / 'cache'}", f"--run_dir={run}"
    play(run, "train", "--weights=street-lite", *ROADS, *TRAIN, f"--steps={steps}", *places)
    losses = [line["evidence"] for line in read_json_lines(run / "metrics.jsonl", {"step": int}) if "evidence" in line]
    tenth = max(len(losses) // 10, 1)
    saw(f"error against what flow proves: {np.mean(losses[:tenth]):.3f}, in the end {np.mean(losses[-tenth:]):.3f}")
    print("Act 4: the truth of further roads of that kind says what it is worth", file=sys.stderr)
    depth = "--task=depth", "--weights=street-lite", "--refine=none", f"--output={shipped}"
    play(shipped, "evaluate", *depth, *ROADS, *TEST)
    play(evaluated, "refine", f"--run_dir={run}", "--refine=fusion", *ROADS, *TEST, f"--output_dir={evaluated}")
    table = errors(read_json(shipped, "an evaluation", {"metrics": {str: float}})["metrics"], evaluated)
    print("\n".join(f"  {name:44}{value:>8}" for name, value in table))
    seconds = round(time.monotonic() - started)
    write_json(folder / "metrics.json", {"seconds": seconds, **{name: float(value) for name, value in table[1:]}})
    write_page(folder, [refined, evaluated], losses, table, seconds)
    print(f"{seconds} s on this machine; to look at: {folder / 'report.html'}")


def play(place: Path, *command: str) -> None:
    """Shows a command and runs it, unless it was done before."""
    print(f"  glnet {shlex.join(command)}", file=sys.stderr)
    call_once(place.with_name(f"{place.name}.done"), *command)


def saw(words: str) -> None:
    print(f"  {words}", file=sys.stderr)


def frames_of(folder: Path) -> list[dict]:
    return read_json_lines(folder / "frames.jsonl", {"name": str, "reason": str})


def errors(shipped: dict[str, float], evaluated: Path) -> list[tuple[str, str]]:
    """Returns a table of depth's AbsRel, from what costs nothing to what this made."""
    stages = read_json(evaluated / "table.json", "errors by stage", {str: {str: float}})
    values = {
        "best constant of each image": shipped["abs_rel_constant"],
        "best depth by image row": shipped["abs_rel_rows"],
        "street-lite as it ships": shipped["abs_rel"],
        "after training": stages["none"]["depth_abs_rel"],
        "after training, refined": stages["fusion"]["depth_abs_rel"],
    }
    return [("depth on four unseen roads", "AbsRel"), *((name, f"{value:.3f}") for name, value in values.items())]


def write_page(
    folder: Path, results: list[Path], losses: list[float], table: list[tuple[str, str]], seconds: float
) -> None:
    """Writes report.html: the frames of result folders, the first one's path and points, the training, the errors."""
    strip, cloud, poses = FrameStrip(), PointCloud(0.5), []
    for place in results:
        with open_results(place) as found:
            pictures = Pictures()
            for name, row in found.rows.items():
                frame = found.read(name)
                drawn = pictures.draw(frame)
                # The page opens with the real video.
                score = float(np.mean(frame.confidence)) if place == results[0] else 0.0
                strip.add(f"{place.name}: {name}", drawn, score)
                if place == results[0]:
                    cloud.add(frame)
                    poses.append(row.pose)
    path = np.array(poses)
    training = chart({"": (list(range(len(losses))), losses)}, "step", "error")
    protocol = "Middle frames, each scaled by the ratio of medians."
    write_report(
        folder / "report.html",
        "GLNet in four acts",
        [
            f"A motorway, refined, and rendered roads after a training on others of their kind, refined; {seconds} s.",
            "The clip is by Udacity (MIT licence).",
        ],
        strip.frames,
        [
            ("The camera's path on the motorway, from above", path_from_above({"camera": path}, "up to scale")),
            ("The error against what flow proves, in training", training),
        ],
        [Table("Depth on roads that were not trained on", table[0], table[1:], protocol)],
        cloud.viewer(path),
    )
