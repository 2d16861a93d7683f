"""GLNet in four acts: predicts a video, refines it, trains for two minutes, judges."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from glnet_tf.cli.flagging import run
from glnet_tf.files import make_folder

ROOT = Path(__file__).resolve().parent.parent
flags.DEFINE_string("output_dir", str(ROOT / "runs" / "demo"), "folder for everything; the same command goes on")
flags.DEFINE_string("clip", str(ROOT / "tools" / "clip" / "highway.mp4"), "video of the first two acts")
flags.DEFINE_integer("steps", 300, "steps of the training", lower_bound=1)


def main() -> None:
    from glnet_tf.experiments.demo import demonstrate

    folder = make_folder(Path(flags.FLAGS.output_dir), "output_dir")
    demonstrate(folder, Path(flags.FLAGS.clip), flags.FLAGS.steps)


if __name__ == "__main__":
    run(main)
