"""What may be written of a video or data set, by name, and what that is made from; see inference.result_folder."""

from __future__ import annotations

from collections.abc import Sequence

from glnet_tf.errors import ConfigError

OF_FRAMES = ("image", "depth", "depth_before", "depth_png", "confidence", "flow", "flow_png", "moving")
# What inference.summary makes, and what it is made from.
DRAWN = ("image", "depth", "flow", "moving")
OF_ALL = {
    "depth_colour": DRAWN[:2],
    "flow_colour": DRAWN[:3],
    "cloud": DRAWN[:2],
    "colmap": DRAWN[:2],
    "video": DRAWN,
    "depth_video": DRAWN[:2],
    "page": (*DRAWN, "depth_before"),
}
DEFAULT_OUTPUTS = ("page", "video", "cloud", "colmap")


def outputs_of(names: Sequence[str]) -> frozenset[str]:
    """Returns all that is written where these outputs are wanted: what they are made from, too.

    Args:
      names: some of OF_FRAMES and OF_ALL, or "all".

    Raises:
      ConfigError: there is no such output.
    """
    known = (*OF_FRAMES, *OF_ALL)
    for name in names:
        if name not in (*known, "all"):
            raise ConfigError(f"--outputs={name}: expected some of {', '.join(known)}, or all")
    wanted = known if "all" in names else names
    return frozenset(wanted).union(*(OF_ALL.get(name, ()) for name in wanted))
