"""A scene as a movie in bird's-eye view: points, boxes and tracks, with the gate beside them.

All frames are drawn on one figure, and all frames of a GIF share one palette, so that nothing flickers.
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
from remembev.viewing.views import FrameView

_DPI = 100
_LAYOUT_WIDTH, _LAYOUT_HEIGHT = 1080, 720
"""Size in pixels that positions in a picture refer to."""
_RIGHT_COLUMN, _TITLE_LINE = 724 / _LAYOUT_WIDTH, 690 / _LAYOUT_HEIGHT
_GATE_OPACITY = 0.4
"""Opacity of the gate under the scene."""
_PALETTE_SIZE = 128
_PALETTE_SAMPLES = 6


def render_frames(views: Sequence[FrameView], *, width: int = 1080, min_score: float = 0.25) -> Iterator[Image.Image]:
    """Yield pictures ``width`` pixels wide: the scene, and beside it the time, the gate alone and the legend."""
    size = width, round(width * (_LAYOUT_HEIGHT / _LAYOUT_WIDTH))
    # a quarter of a pixel more: some versions of matplotlib truncate the size, which drops a row
    figure = Figure(figsize=((size[0] + 0.25) / _DPI, (size[1] + 0.25) / _DPI), dpi=_DPI, facecolor=style.BACKGROUND)
    scale = width / _LAYOUT_WIDTH
    scene, gate = _add_square(figure, 12, 12, 696), _add_square(figure, 724, 300, 344)
    heading: dict[str, Any] = {"color": style.TEXT, "fontsize": 15 * scale, "va": "center"}
    title = figure.text(_RIGHT_COLUMN, _TITLE_LINE, "", **heading)
    clock = figure.text(1068 / _LAYOUT_WIDTH, _TITLE_LINE, "", ha="right", **heading)
    caption: dict[str, Any] = {"color": style.MUTED_TEXT, "fontsize": 9 * scale, "va": "bottom"}
    figure.text(_RIGHT_COLUMN, 650 / _LAYOUT_HEIGHT, "gate: what memory and this frame let through", **caption)
    anchor = (720 / _LAYOUT_WIDTH, 284 / _LAYOUT_HEIGHT)
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": anchor, "labelspacing": 1.05}
    figure.legend(handles=legend_handles(views[0].class_names), ncols=2, fontsize=9 * scale, **place, **LEGEND)
    counts = figure.text(_RIGHT_COLUMN, 24 / _LAYOUT_HEIGHT, "", linespacing=1.6, **caption)
    for view in views:
        draw_frame(scene, replace(view, title="", seconds=None), min_score=min_score, gate_opacity=_GATE_OPACITY)
        draw_frame(gate, replace(view, points=None, detections=None, tracks=(), title="", seconds=None))
        title.set_text(view.title)
        clock.set_text("" if view.seconds is None else f"{view.seconds:.1f} s")
        counts.set_text("\n".join(_count_lines(view, min_score)))
        pixels = io.BytesIO()
        figure.savefig(pixels, format="rgba", dpi=_DPI)
        yield Image.frombytes("RGBA", size, pixels.getvalue()).convert("RGB")


def _count_lines(view: FrameView, min_score: float) -> Iterator[str]:
    """Yield lines with the number of boxes and how many of them have no point."""
    if view.detections is not None:
        shown = view.shown_detections(min_score)
        yield f"{len(shown)} boxes, {int(shown.remembered.sum())} of them without a point"
        if shown.coasted is not None:
            yield f"{int(shown.coasted.sum())} of lost tracks, which coast: number in brackets"
    if view.gt_boxes is not None and view.gt_labels is not None and view.gt_num_points is not None:
        shown_truth = (view.gt_labels >= 0) & view.grid.cells(view.gt_boxes)[2]
        hidden = shown_truth & (view.gt_num_points == 0)
        yield f"{int(shown_truth.sum())} true objects, {int(hidden.sum())} of them without a point"


def _add_square(figure: Figure, left: float, bottom: float, side: float) -> Axes:
    """Add square axes, in pixels of the layout."""
    width, height = _LAYOUT_WIDTH, _LAYOUT_HEIGHT
    return figure.add_axes((left / width, bottom / height, side / width, side / height))


def write_movie(
    path: Path,
    views: Sequence[FrameView],
    *,
    width: int = 1080,
    frame_seconds: float = 0.25,
    min_score: float = 0.25,
) -> None:
    """Write the frames of a scene as ``.mp4`` or as a looping ``.gif``; by default key frames (2 Hz) at double speed.

    Raises:
        UserError: The path has another suffix.
        ValueError: There is no frame.
    """
    check_suffix(path)
    if not views:
        raise ValueError("a movie needs at least one frame")
    pictures = render_frames(views, width=width, min_score=min_score)
    with atomic_write(path) as temporary:
        _WRITERS[path.suffix.lower()](temporary, pictures, frame_seconds)


def check_suffix(path: Path) -> None:
    """Raise UserError unless a movie can be written to a file of that name."""
    if path.suffix.lower() not in _WRITERS:
        raise UserError(f"{path}: a movie has to end in {' or '.join(_WRITERS)}")


def _write_gif(path: Path, pictures: Iterable[Image.Image], frame_seconds: float) -> None:
    pictures = list(pictures)
    palette = _shared_palette(pictures)
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
    """Write H.264, which browsers play; both sides are cropped to even numbers of pixels, as it requires."""
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


def _shared_palette(pictures: Sequence[Image.Image]) -> Image.Image:
    """Return one palette for all frames: the theme's exact colours, then the most common of the pictures."""
    step = max(1, len(pictures) // _PALETTE_SAMPLES)
    samples = pictures[::step]
    width, height = samples[0].size
    montage = Image.new("RGB", (width, height * len(samples)))
    for row, sample in enumerate(samples):
        montage.paste(sample, (0, row * height))
    exact = _theme_colours()
    remaining = _PALETTE_SIZE - len(exact)
    common = montage.quantize(remaining, method=Image.Quantize.MEDIANCUT).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette((exact * 255).round().astype(int).flatten().tolist() + common[: 3 * remaining])
    return palette


def _theme_colours() -> NDArray[np.float64]:
    """Return RGB [C, 3]: lines and classes, steps of the gate's and the points' colours, fills over the background."""
    lines = [style.BACKGROUND, style.MUTED_LINE, style.GROUND_TRUTH, style.TEXT]
    plain = np.array([to_rgb(colour) for colour in (*lines, *style.CLASS_COLOURS.values())])
    background, classes = plain[0], plain[len(lines) :]
    steps = np.linspace(0, 1, 16)
    return np.concatenate(
        [
            plain,
            style.GATE_COLOURS(steps)[:, :3],
            style.HEIGHT_COLOURS(steps[::2])[:, :3],
            background + FILL_OPACITY * (classes - background),
        ]
    )
