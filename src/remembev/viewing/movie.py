"""A scene from above as an animated GIF: what the sensor and the detector see, beside what the gate lets through.

One figure is drawn on for all frames and all share one palette, so that nothing flickers.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from remembev.files import replacing
from remembev.viewing import style
from remembev.viewing.bev import FILL_OPACITY, FrameView, draw_frame, draw_legend

_DPI = 100
_PALETTE_SAMPLES = 6
_GATE_TITLE = "gate: what memory and current frame let through"


def render_frames(views: Sequence[FrameView], *, width: int = 1040, min_score: float = 0.25) -> Iterator[Image.Image]:
    """Pictures of two panels, ``width`` pixels wide: the scene with its boxes left, the gate and the truth right."""
    height = round(width * 0.575)
    size = width, height
    # a quarter of a pixel more: some versions of matplotlib cut the fraction off, and with it a row
    figure = Figure(figsize=((width + 0.25) / _DPI, (height + 0.25) / _DPI), dpi=_DPI, facecolor=style.BACKGROUND)
    panel = 0.482
    scene = figure.add_axes((0.008, 0.1, panel, panel * width / height))
    gate = figure.add_axes((0.51, 0.1, panel, panel * width / height))
    draw_legend(figure, views[0].class_names)
    for view in views:
        draw_frame(scene, replace(view, gate=None), min_score=min_score)
        draw_frame(gate, replace(view, points=None, detections=None, title=_GATE_TITLE, seconds=None))
        pixels = io.BytesIO()
        figure.savefig(pixels, format="rgba", dpi=_DPI)
        yield Image.frombytes("RGBA", size, pixels.getvalue()).convert("RGB")


def write_movie(
    path: Path,
    views: Sequence[FrameView],
    *,
    width: int = 1040,
    colours: int = 96,
    frame_seconds: float = 0.25,
    min_score: float = 0.25,
) -> None:
    """Write the frames of a scene as a GIF that loops, key frames (2 Hz) at double speed unless told otherwise.

    Raises ValueError if there is no frame.
    """
    if not views:
        raise ValueError("a movie needs at least one frame")
    pictures = list(render_frames(views, width=width, min_score=min_score))
    palette = _shared_palette(pictures, colours)
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    with replacing(path) as temporary:
        frames[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=round(frame_seconds * 1000),
            loop=0,
            disposal=1,
            optimize=False,
        )


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
