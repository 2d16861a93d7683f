"""Flags of tools/train.py: the paper's training on one tiny street, two snippets a step."""

import paper

FLAGS = [
    f"--flagfile={paper.FLAGFILE}",
    "--dataset=street",
    "--streets=1",
    "--street_frames=7",
    "--image_height=32",
    "--image_width=64",
    "--batch_size=2",
    "--encoder=efficientnet_lite0",
    "--intrinsics=learned",
    "--ramp_steps=2",
]
