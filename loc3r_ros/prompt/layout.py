"""Where the tokens of a video stand: the index arithmetic that model, memory and export share.

A frame is `[camera token, patch grid with its newlines]`. The camera token precedes the grid as in the paper
(arXiv 2603.18002, section 3); newlines belong to LLaVA-Video's layouts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Newline = Literal["grid", "frame", "one_token", "no_token"]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class VideoLayout:
    """Token positions of the frames of a video, row-major patches.

    Attributes:
        rows: rows of patch tokens per frame, after pooling.
        columns: patch tokens per row, after pooling.
        newline: "grid" ends every row with a newline token, "frame" every frame, "one_token" the video, "no_token"
            nothing.
        has_camera: whether each frame begins with its camera token.
    """

    rows: int
    columns: int
    newline: Newline = "grid"
    has_camera: bool = True

    @property
    def patches_per_frame(self) -> int:
        """Number of patch tokens of one frame."""
        return self.rows * self.columns

    @property
    def newlines_per_frame(self) -> int:
        """Number of newline tokens inside one frame."""
        return {"grid": self.rows, "frame": 1, "one_token": 0, "no_token": 0}[self.newline]

    @property
    def tokens_per_frame(self) -> int:
        """Number of tokens of one frame: camera, patches and newlines."""
        return int(self.has_camera) + self.patches_per_frame + self.newlines_per_frame

    @property
    def tail_tokens(self) -> int:
        """Number of newline tokens after the last frame (1 for "one_token"): they move when a frame is appended."""
        return int(self.newline == "one_token")

    def video_tokens(self, frames: int) -> int:
        """Return the number of tokens of a whole video."""
        return frames * self.tokens_per_frame + self.tail_tokens

    def patch_offsets(self) -> Indices:
        """Return the positions of the patch tokens inside a frame, (rows * columns,)."""
        stride = self.columns + int(self.newline == "grid")
        grid = np.arange(self.rows)[:, None] * stride + np.arange(self.columns)[None, :]
        return int(self.has_camera) + grid.reshape(-1)

    def newline_offsets(self) -> Indices:
        """Return the positions of the newline tokens inside a frame, (newlines_per_frame,)."""
        used = np.zeros(self.tokens_per_frame, dtype=bool)
        used[: int(self.has_camera)] = True
        used[self.patch_offsets()] = True
        return np.flatnonzero(~used)

    def patch_indices(self, frames: int, start: int = 0) -> Indices:
        """Return the positions of all patch tokens, (frames, rows * columns), of a video that begins at `start`."""
        return start + np.arange(frames)[:, None] * self.tokens_per_frame + self.patch_offsets()[None, :]

    def camera_indices(self, frames: int, start: int = 0) -> Indices:
        """Return the positions of the camera tokens, (frames,); empty where the layout has none."""
        return start + np.arange(frames if self.has_camera else 0) * self.tokens_per_frame

    def patch_centres(self, pixels_per_patch: float) -> npt.NDArray[np.float64]:
        """Return the (rows * columns, 2) pixel centres (x, y) of the patch tokens in the vision tower's frame.

        Args:
            pixels_per_patch: side of a patch after pooling, pixels: 27 for the 7B (llava pools 27 x 27 to 14 x 14).
        """
        x, y = ((np.arange(count) + 0.5) * pixels_per_patch for count in (self.columns, self.rows))
        return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
