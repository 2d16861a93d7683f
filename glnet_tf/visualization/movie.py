"""Videos, written picture by picture: H.264 in colour, and FFV1, which loses nothing, in grey of 16 bits."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any

import imageio_ffmpeg
import numpy as np

from glnet_tf.errors import DataError
from glnet_tf.files import replacement

# Constant rate factor of x264: 18 is hardly told from the original, 28 is visibly coarse.
QUALITY = "20"
COLOUR = {"macro_block_size": 2, "output_params": ["-crf", QUALITY]}
GREY = {"macro_block_size": 1, "codec": "ffv1", "pix_fmt_in": "gray16le", "pix_fmt_out": "gray16le"}


class Movie(contextlib.AbstractContextManager):
    """Writes pictures of one size to a file, which appears at the end of the block: `with Movie(file, fps) as m: ...`.

    Args:
      file: its path, .mp4, or .mkv of grey ones.
      fps: pictures per second.
      grey: whether pictures are [H, W] uint16, not [H, W, 3] uint8.
    """

    def __init__(self, file: Path, fps: float, grey: bool = False):
        self._file, self._fps = file, fps
        self._format: dict[str, Any] = GREY if grey else COLOUR
        self._writer: Any = None
        self._ending = contextlib.ExitStack()

    def add(self, picture: np.ndarray) -> None:
        """Adds a picture; an odd last row or column of a coloured one is left out, as H.264 asks for even sizes.

        Raises:
          DataError: it cannot be written.
        """
        block = self._format["macro_block_size"]
        height, width = (side // block * block for side in picture.shape[:2])
        if self._writer is None:
            self._writer = imageio_ffmpeg.write_frames(
                str(self._ending.enter_context(replacement(self._file))),
                (width, height),
                fps=self._fps,
                ffmpeg_log_level="error",
                **self._format,
            )
            self._writer.send(None)
        try:
            self._writer.send(np.ascontiguousarray(picture[:height, :width]))
        except OSError as error:
            raise DataError(f"{self._file}: cannot be written ({error}); choose a folder with space") from None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends the movie and gives it its name; without a picture, or after an error, there is no file."""
        if self._writer is not None:
            with contextlib.suppress(*[Exception] * (error is not None)):
                self._writer.close()
            self._writer = None
        self._ending.__exit__(kind, error, trace)
