"""A scene from above as a movie: what sensor and detector see, what was seen before, what the gate lets through.

One figure is drawn on for all frames, and all frames of a GIF share one palette, so that nothing flickers.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from remembev.errors import UserError
from remembev.files import atomic_write
from remembev.viewing import style
from remembev.viewing.bev import FILL_OPACITY, LEGEND, draw_frame, legend_handles
from remembev.viewing.frame import FrameView

_DPI = 100
_COLOURS = 128
_PALETTE_SAMPLES = 6
_SHAPE = 2 / 3
"""Height of a picture over its width."""
_UNDERLAY = 0.4
"""Opacity of the gate under the scene."""


def render_frames(views: Sequence[FrameView], *, width: int = 1080, min_score: float = 0.25) -> Iterator[Image.Image]:
    """Pictures ``width`` pixels wide: the scene from above, beside it the time, the gate by itself and the legend."""
    size = width, round(width * _SHAPE)
    # a quarter of a pixel more: some versions of matplotlib cut the fraction off, and with it a row
    figure = Figure(figsize=((size[0] + 0.25) / _DPI, (size[1] + 0.25) / _DPI), dpi=_DPI, facecolor=style.BACKGROUND)
    scale = width / 1080
    scene, gate = _square(figure, 12, 12, 696), _square(figure, 724, 300, 344)
    title = figure.text(724 / 1080, 690 / 720, "", color=style.TEXT, fontsize=15 * scale, va="center")
    clock = figure.text(1068 / 1080, 690 / 720, "", color=style.TEXT, fontsize=15 * scale, va="center", ha="right")
    caption: dict[str, Any] = {"color": style.QUIET_TEXT, "fontsize": 9 * scale, "va": "bottom"}
    figure.text(724 / 1080, 650 / 720, "gate: what memory and this frame let through", **caption)
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (720 / 1080, 284 / 720), "labelspacing": 1.05}
    figure.legend(handles=legend_handles(views[0].class_names), ncols=2, fontsize=9 * scale, **place, **LEGEND)
    tally = figure.text(724 / 1080, 24 / 720, "", linespacing=1.6, **caption)
    for view in views:
        draw_frame(scene, replace(view, title="", seconds=None), min_score=min_score, gate_opacity=_UNDERLAY)
        draw_frame(gate, replace(view, points=None, detections=None, tracks=(), title="", seconds=None))
        title.set_text(view.title)
        clock.set_text("" if view.seconds is None else f"{view.seconds:.1f} s")
        tally.set_text("\n".join(_tally(view, min_score)))
        pixels = io.BytesIO()
        figure.savefig(pixels, format="rgba", dpi=_DPI)
        yield Image.frombytes("RGBA", size, pixels.getvalue()).convert("RGB")


def _tally(view: FrameView, min_score: float) -> Iterator[str]:
    """How many boxes there are, and how many of them without a point, as lines."""
    if view.detections is not None:
        shown = view.detections[view.detections.scores >= min_score]
        yield f"{len(shown)} detected, {int(shown.remembered.sum())} of them without a point"
    if view.gt_boxes is not None and view.gt_labels is not None and view.gt_num_points is not None:
        real = (view.gt_labels >= 0) & view.grid.cells(view.gt_boxes)[2]
        yield f"{int(real.sum())} true objects, {int((real & (view.gt_num_points == 0)).sum())} of them without a point"


def _square(figure: Figure, left: float, bottom: float, side: float) -> Axes:
    """Axes at a place of the picture, in pixels of one 1080 wide."""
    return figure.add_axes((left / 1080, bottom / 720, side / 1080, side / 720))


def write_movie(
    path: Path,
    views: Sequence[FrameView],
    *,
    width: int = 1080,
    frame_seconds: float = 0.25,
    min_score: float = 0.25,
) -> None:
    """Write the frames of a scene as ``.mp4``, or as ``.gif`` that loops; key frames (2 Hz) at double speed.

    Raises UserError for another suffix, and ValueError if there is no frame.
    """
    check_suffix(path)
    if not views:
        raise ValueError("a movie needs at least one frame")
    pictures = render_frames(views, width=width, min_score=min_score)
    with atomic_write(path) as temporary:
        _WRITERS[path.suffix.lower()](temporary, pictures, frame_seconds)


def check_suffix(path: Path) -> None:
    """Raise UserError if no movie can be written to a file of that name."""
    if path.suffix.lower() not in _WRITERS:
        raise UserError(f"{path}: a movie's name ends in {' or '.join(_WRITERS)}")


def _write_gif(path: Path, pictures: Iterable[Image.Image], frame_seconds: float) -> None:
    pictures = list(pictures)
    palette = _shared_palette(pictures, _COLOURS)
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    frames[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=round(frame_seconds * 1000),
        loop=0,
        disposal=1,
        optimize=False,
    )


def _write_mp4(path: Path, pictures: Iterable[Image.Image], frame_seconds: float) -> None:
    """H.264, which browsers play; sides are cut to even numbers of pixels, as it wants them."""
    import imageio_ffmpeg

    pictures = iter(pictures)
    first = next(pictures)
    size = first.width // 2 * 2, first.height // 2 * 2
    options = {"fps": 1 / frame_seconds, "quality": 7, "macro_block_size": 2, "ffmpeg_log_level": "error"}
    with closing(imageio_ffmpeg.write_frames(str(path), size, **options)) as writer:
        writer.send(None)
        for picture in chain((first,), pictures):
            writer.send(picture.crop((0, 0, *size)).tobytes())


_WRITERS: dict[str, Callable[[Path, Iterable[Image.Image], float], None]] = {".gif": _write_gif, ".mp4": _write_mp4}


def _shared_palette(pictures: Sequence[Image.Image], colours: int) -> Image.Image:
    """One palette for all frames: the theme's own colours exactly, then what the pictures hold most of."""
    step = max(1, len(pictures) // _PALETTE_SAMPLES)
    samples = pictures[::step]
    width, height = samples[0].size
    montage = Image.new("RGB", (width, height * len(samples)))
    for row, sample in enumerate(samples):
        montage.paste(sample, (0, row * height))
    exact = np.concatenate([np.array([to_rgb(colour) for colour in _plain_colours()]), *_ramps()])
    learnt = montage.quantize(colours - len(exact), method=Image.Quantize.MEDIANCUT).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette((exact * 255).round().astype(int).flatten().tolist() + learnt[: 3 * (colours - len(exact))])
    return palette


def _plain_colours() -> list[str]:
    return [style.BACKGROUND, style.FURNITURE, style.GROUND_TRUTH, style.TEXT, *style.CLASS_COLOURS.values()]


def _ramps() -> list[NDArray[np.float64]]:
    """Steps [S, 3] of the gate's and the points' colours, and of each class' fill over the background."""
    background = np.array(to_rgb(style.BACKGROUND))
    classes = np.array([to_rgb(colour) for colour in style.CLASS_COLOURS.values()])
    steps = np.linspace(0, 1, 16)
    return [
        style.GATE_COLOURS(steps)[:, :3],
        style.HEIGHT_COLOURS(steps[::2])[:, :3],
        background + FILL_OPACITY * (classes - background),
    ]
