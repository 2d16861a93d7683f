"""Flags of tools/train.py for runs that tests compare: two snippets a step, of one tiny street."""

FLAGS = [
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
