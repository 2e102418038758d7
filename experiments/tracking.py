"""The one sink of both halves: TensorBoard events, metrics.jsonl and media files of a run folder."""

import io
import json
import time
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue] (generated)
from torch.utils.tensorboard import SummaryWriter

from experiments import files

GIF_FRAMES = 150  # TensorBoard keeps animations inside its event file


class Tracker:
    """Writes what a run reports. Steps are environment steps (marl) or optimiser steps (generative)."""

    def __init__(self, run: Path, resume_step: int | None = None) -> None:
        """resume_step: what a killed run had written beyond this step is dropped; it will be written again."""
        self.run = run
        (run / "media").mkdir(parents=True, exist_ok=True)
        self.lines = run / "metrics.jsonl"
        if self.lines.exists() and not self.lines.is_file():
            raise ValueError(f"cannot write {self.lines}: it is there and no regular file")
        purge = None
        if resume_step is not None:
            self._truncate(resume_step)
            purge = resume_step + 1
        self.writer = SummaryWriter(str(run), purge_step=purge, flush_secs=10)

    def _truncate(self, step: int) -> None:
        if not self.lines.exists():
            return
        kept = []
        for line in self.lines.read_text().splitlines():
            try:
                earlier = json.loads(line)["step"] <= step
            except (ValueError, TypeError, KeyError, RecursionError):  # the half line of a killed run
                continue
            if earlier:
                kept.append(line)
        files.write_text(self.lines, "".join(f"{line}\n" for line in kept))

    def scalars(self, step: int, metrics: dict[str, float]) -> None:
        """One line of metrics.jsonl and one point of each curve."""
        for tag, value in metrics.items():
            self.writer.add_scalar(tag, value, step)
        with self.lines.open("a") as file:
            file.write(json.dumps({"step": step, "time": round(time.time(), 3), **metrics}) + "\n")

    def image(self, tag: str, step: int, picture: np.ndarray) -> Path:
        """picture: uint8 [H, W, 3]. Returns the PNG under media/."""
        self.writer.add_image(f"media/{tag}", picture, step, dataformats="HWC")
        return write_png(self.run / "media" / f"{tag}-{step:012d}.png", picture)

    def video(self, tag: str, step: int, frames: list[np.ndarray], fps: int) -> Path:
        """frames: uint8 [H, W, 3] each. Returns the MP4 under media/; TensorBoard shows its beginning."""
        path = write_video(self.run / "media" / f"{tag}-{step:012d}.mp4", frames, fps)
        shown = frames[:GIF_FRAMES]
        data = io.BytesIO()
        pictures = [Image.fromarray(frame).quantize(64) for frame in shown]
        pictures[0].save(data, "GIF", save_all=True, append_images=pictures[1:], duration=1000 // fps, loop=0)
        height, width = shown[0].shape[:2]
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=data.getvalue())
        # add_video would need moviepy for the same bytes; TensorBoard's image page plays a GIF.
        self.writer._get_file_writer().add_summary(
            Summary(value=[Summary.Value(tag=f"media/{tag}", image=image)]), step
        )
        return path

    def hparams(self, step: int, config: dict[str, Any], metrics: dict[str, float]) -> None:
        """The resolved configuration beside the final metrics, on TensorBoard's HPARAMS page."""
        flat = flatten(config)
        self.writer.add_hparams(flat, metrics, run_name=".", global_step=step)

    def close(self) -> None:
        self.writer.close()


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys; None becomes "None", as TensorBoard takes no null."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return flat


def write_png(path: Path, picture: np.ndarray) -> Path:
    """picture: uint8 [H, W, 3]. Written whole or not at all."""
    with files.whole(path) as temporary:
        Image.fromarray(picture).save(temporary, "PNG")
    return path


def write_video(path: Path, frames: list[np.ndarray], fps: int) -> Path:
    """Writes .mp4 (H.264), .gif or .webp, whole or not at all. frames: uint8 [H, W, 3], of one size.

    Raises: ValueError for another suffix.
    """
    suffix = path.suffix.lower()
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(path) as temporary:
        if suffix == ".mp4":
            height, width = (size - size % 2 for size in frames[0].shape[:2])  # H.264 wants even sizes
            stack = np.stack([frame[:height, :width] for frame in frames])
            options = {"codec": "libx264", "macro_block_size": 2, "pixelformat": "yuv420p"}
            iio.imwrite(temporary, stack, plugin="FFMPEG", fps=fps, **options)
        elif suffix in (".gif", ".webp"):
            pictures = [Image.fromarray(frame) for frame in frames]
            pictures[0].save(temporary, save_all=True, append_images=pictures[1:], duration=1000 // fps, loop=0)
        else:
            raise ValueError(f"cannot write a video as {path.name!r}; allowed suffixes: .mp4, .gif, .webp")
    return path
