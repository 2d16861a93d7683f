"""What the names of image files tell: which are frames, their order, their times, and where some are missing."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np

from glnet_tf.data.files.images import IMAGE_SUFFIXES
from glnet_tf.errors import DataError

# A number in a name.
NUMBER = re.compile(r"\d+(?:\.\d+)?")
# A date and a time of day in a name: 20261127_093015.
CLOCK = re.compile(r"(?<!\d)((?:19|20)\d\d)(\d\d)(\d\d)[-_ T]?(\d\d)(\d\d)(\d\d)(?!\d)")
MAX_CLOCK_STEPS = 5


def image_files(folder: Path) -> tuple[str, ...]:
    """Returns the images directly in a folder, in natural order (2 before 10, 1.25 before 1.5).

    Raises:
      DataError: two files bear the same number or name, as a picture and its depth map would.
    """
    visible = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    files = [entry for entry in visible if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file()]
    # Names as 000001.left.png and 000001.depth.png are two views of one moment, never two frames of one video.
    moments: dict[object, str] = {}
    for file in sorted(files):
        numbers = NUMBER.findall(file.stem)
        moment = tuple(map(Decimal, numbers)) or file.stem
        if moment in moments:
            raise DataError(
                f"{file}: has the {'number' if numbers else 'name'} of {moments[moment]}: expected one image per "
                "frame; move depth maps, masks and the images of other cameras to another folder"
            )
        moments[moment] = file.name
    return tuple(str(file) for file in sorted(files, key=lambda file: natural_key(file.name)))


def natural_key(name: str) -> list[tuple[int | Decimal, str]]:
    """Returns a sorting key under which numbers within names, decimal where they are, compare by value."""
    parts = re.split(f"({NUMBER.pattern})", name)
    return [(Decimal(part), "") if NUMBER.fullmatch(part) else (-1, part.lower()) for part in parts if part]


def frame_name(file: str) -> str:
    """Returns what a frame is called: its file's name without what says its type, as in frame-000001.color.jpg."""
    return re.sub(r"\.[^\W\d]\w*$", "", Path(file).stem)


def times_of(stems: Sequence[str]) -> list[float] | None:
    """Returns the times that names tell, seconds: 12.25 is one, and 20261127_093015; None unless they rise."""
    found = [float(stem) if "." in stem and NUMBER.fullmatch(stem) else _clock(stem) for stem in stems]
    times = [time for time in found if time is not None]
    return times if len(times) == len(found) and all(a < b for a, b in zip(times, times[1:])) else None


def _clock(stem: str) -> float | None:
    """Seconds since 1970 of the date and time of day in a name, as cameras and telephones write them."""
    match = CLOCK.search(stem)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        moment = datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.timezone.utc)
    except ValueError:
        return None
    return moment.timestamp()


def uninterrupted_runs(files: Sequence[str], readable: np.ndarray) -> np.ndarray:
    """Returns the number of the run of consecutive frames that each file belongs to.

    A frame that cannot be read ends a run. So does a gap in the numbering when the names differ in one number only: a
    step that differs from the scene's typical (median) one by half of it or more. The steps of a clock in the names
    vary: there a gap is one of more than MAX_CLOCK_STEPS typical ones.

    Args:
      files: [F] paths in temporal order.
      readable: [F] bool.

    Returns:
      [F] int64, non-decreasing.
    """
    breaks = ~readable
    clocks = [_clock(Path(file).stem) for file in files]
    if len(files) > 1 and None not in clocks and len(set(clocks)) > 1:
        steps = np.diff(np.array(clocks, float))
        breaks[1:] |= steps > MAX_CLOCK_STEPS * max(float(np.median(steps)), 1.0)
        return np.cumsum(breaks)
    parts = [re.split(f"({NUMBER.pattern})", Path(file).stem) for file in files]
    if len(files) > 1 and len({len(part) for part in parts}) == 1:
        differing = [column for column in zip(*parts) if len(set(column)) > 1]
        if len(differing) == 1 and all(NUMBER.fullmatch(number) for number in differing[0]):
            steps = np.diff([float(number) for number in differing[0]])
            typical = np.sort(steps)[(len(steps) - 1) // 2]
            breaks[1:] |= 2 * np.abs(steps - typical) >= typical
    return np.cumsum(breaks)
