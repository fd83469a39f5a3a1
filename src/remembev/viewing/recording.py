"""A scene as a rerun recording: what was seen, detected, remembered and read, by time and by frame.

Everything under ``world/ego`` is in the LiDAR frame of its moment, which moves through that of the scene's first.
Dashes mean what they mean in the pictures: no point inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import rerun as rr
import rerun.blueprint as rrb
import torch
from matplotlib.colors import Colormap, to_rgb
from numpy.typing import NDArray
from torch import Tensor

from remembev.files import atomic_write
from remembev.geometry import BEVGrid, box_corners, invert_pose, transform_points
from remembev.models import Detections
from remembev.viewing import style
from remembev.viewing.bev import HEIGHT_RANGE
from remembev.viewing.frame import FrameView, MemoryView
from remembev.viewing.reads import (
    LEAST_AFFINITY,
    MAX_TOKENS,
    READING_CELLS,
    READS_OF_A_CELL,
    most_read,
    strongest_reads,
)

MAX_POINTS = 30_000
"""Points of a frame that are kept; of more, every second, every third and so on."""

_GROUND = -2.1
"""Where maps and tokens lie, metres in the LiDAR frame: just under the street."""
_DOWN = np.array([0, 0, _GROUND])
_EDGES = np.array([(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)])
_DASHES = 4
_ARC = np.linspace(0, 1, 9)
_EGO_CENTRE, _EGO_HALF_SIZE = (0.0, 0.1, -1.1), (0.95, 2.5, 0.75)
_CAMERA_HEIGHT, _CAMERA_PIXELS = 400.0, 1000
"""Of the view from above: from so far that what is high hardly leans outwards."""

_NO_AXES: dict[str, Any] = {} if hasattr(rr, "TransformAxes3D") else {"axis_length": 0}
"""Early versions of rerun draw the axes of every transform unless told not to."""

_CURVES = {
    "counts/boxes/observed": ("observed", style.TEXT),
    "counts/boxes/remembered": ("remembered", "#ffd166"),
    "counts/boxes/hidden": ("true objects without a point", style.QUIET_TEXT),
    "counts/tokens/working": ("working memory", style.WORKING),
    "counts/tokens/long_term": ("long-term memory", style.LONG_TERM),
}
"""Name and colour of each."""

_ABOUT = f"""# {{title}}

| what you see | is |
|---|---|
| box in the colour of its class | detected, with a score of at least {{min_score:g}} |
| the same in dashes | remembered: this frame has no point inside |
| thin white box | ground truth; in dashes where it has no point |
| line behind a box | where that object was detected before |
| ground | the gate, from closed (dark) to open (bright) |
| dot on the ground | a token of the memory that was read: green of the working, violet of the long-term one |
| arc | the cell under a box reads a token; the thicker, the larger its share |

{{points}} Tokens: the {MAX_TOKENS:,} of a frame that were read most. Arcs: of at most {READING_CELLS} boxes,
remembered ones first, the {READS_OF_A_CELL} largest shares of each from {LEAST_AFFINITY:.0%} on.
"""


def write_recording(path: Path, views: Sequence[FrameView], *, min_score: float = 0.25) -> None:
    """Write the frames of a scene as a recording (``.rrd``), with a layout to look at it in.

    Timelines are ``elapsed``, since the scene began, and ``frame``; viewers start with the first in the alphabet, which
    plays at the scene's own pace. Detections below ``min_score`` are left out. Raises ValueError if there is no frame.
    """
    if not views:
        raise ValueError("a recording needs at least one frame")
    world_from_lidar = [_relative(views[0], view) for view in views]
    with atomic_write(path) as temporary:
        recording = rr.RecordingStream("remembev")
        recording.save(temporary, default_blueprint=layout(views[0].title))
        try:
            _log_setting(recording, views, min_score)
            _log_way(recording, world_from_lidar)
            for number, (view, pose) in enumerate(zip(views, world_from_lidar, strict=True)):
                recording.set_time("frame", sequence=number)
                recording.set_time("elapsed", duration=view.seconds or 0.0)
                _log_frame(recording, view, pose, min_score)
        finally:
            recording.disconnect()


def layout(title: str) -> rrb.Blueprint:
    """Where the viewer puts things: the street, the same from above, the maps, curves over time, what is what."""
    shown = ["+ /world/**", "- /world/ego/above/**", "- /world/ego/occupancy/**"]
    street = rrb.Spatial3DView(
        origin="/world", contents=shown, name=title or "street", background=_rgb(style.BACKGROUND)
    )
    above = rrb.Spatial2DView(
        origin="/world/ego/above", contents=shown, name="from above", background=_rgb(style.BACKGROUND)
    )
    maps = [rrb.Spatial2DView(origin=f"/maps/{name}", name=name) for name in ("gate", "occupancy")]
    curves = [rrb.TimeSeriesView(origin=f"/counts/{name}", name=name) for name in ("boxes", "tokens")]
    about = rrb.TextDocumentView(origin="/about", name="what is what")
    return rrb.Blueprint(
        rrb.Horizontal(
            rrb.Vertical(street, rrb.Horizontal(*curves), row_shares=[3, 1]),
            rrb.Vertical(above, rrb.Tabs(rrb.Horizontal(*maps, name="maps"), about), row_shares=[3, 2]),
            column_shares=[3, 2],
        ),
        rrb.TimePanel(state="expanded"),
        rrb.BlueprintPanel(state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
    )


def kept_points(views: Sequence[FrameView]) -> str:
    """What is kept of the points, as a sentence."""
    most = max((len(_in_range(view.points, view.grid)) for view in views if view.points is not None), default=0)
    every = ceil(most / MAX_POINTS)
    return (
        "All points in range." if every <= 1 else f"At most {MAX_POINTS:,} points of a frame: down to one in {every}."
    )


def _in_range(points: Tensor, grid: BEVGrid) -> Tensor:
    """The points [N, ≥3] on the grid."""
    return points[grid.cells(points)[2]].cpu()


def _relative(first: FrameView, view: FrameView) -> Tensor:
    """[4, 4] float64 from the frame's coordinates to the first frame's: numbers small enough for rerun's float32."""
    if first.global_from_lidar is None or view.global_from_lidar is None:
        return torch.eye(4, dtype=torch.float64)
    return invert_pose(first.global_from_lidar) @ view.global_from_lidar


# ------------------------------------------------------------------------------------------------------ what stays


def _log_setting(recording: rr.RecordingStream, views: Sequence[FrameView], min_score: float) -> None:
    """The car, the camera above it, the names of the curves, and what is what."""
    about = _ABOUT.format(title=views[0].title or "RememBEV", min_score=min_score, points=kept_points(views))
    recording.log("about", rr.TextDocument(about, media_type="text/markdown"), static=True)
    recording.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    car = rr.Boxes3D(centers=[_EGO_CENTRE], half_sizes=[_EGO_HALF_SIZE], colors=[_rgb(style.TEXT)])
    recording.log("world/ego", car, static=True)
    down = rr.Transform3D(translation=(0.0, 0.0, _CAMERA_HEIGHT), mat3x3=np.diag([1.0, -1.0, -1.0]), **_NO_AXES)
    recording.log("world/ego/above", down, static=True)
    focal = _CAMERA_PIXELS * _CAMERA_HEIGHT / (views[0].grid.x_max - views[0].grid.x_min)
    lens = rr.Pinhole(focal_length=focal, width=_CAMERA_PIXELS, height=_CAMERA_PIXELS)
    recording.log("world/ego/above", lens, static=True)
    for path, (name, colour) in _CURVES.items():
        recording.log(path, rr.SeriesLines(colors=[_rgb(colour)], names=[name], widths=[2]), static=True)


def _log_way(recording: rr.RecordingStream, world_from_lidar: Sequence[Tensor]) -> None:
    """Where the car drives through the scene."""
    way = torch.stack([pose[:3, 3] for pose in world_from_lidar]).numpy() + _DOWN
    recording.log("world/way", rr.LineStrips3D([way], colors=[_rgb(style.FURNITURE)], radii=[-1]), static=True)


# ------------------------------------------------------------------------------------------------- what a frame has


def _log_frame(recording: rr.RecordingStream, view: FrameView, world_from_lidar: Tensor, min_score: float) -> None:
    pose = world_from_lidar.numpy()
    recording.log("world/ego", rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3], **_NO_AXES))
    if view.points is not None:
        _log_points(recording, _in_range(view.points, view.grid))
    for name, values in (("gate", view.gate), ("occupancy", view.occupancy)):
        if values is not None:
            _log_map(recording, name, values.numpy(force=True), view.grid)
    if view.gt_boxes is not None and view.gt_labels is not None and view.gt_num_points is not None:
        near = view.grid.cells(view.gt_boxes)[2] & (view.gt_labels >= 0)
        boxes, labels, counts = (values[near].cpu() for values in (view.gt_boxes, view.gt_labels, view.gt_num_points))
        _log_truth(recording, boxes, [view.class_names[label] for label in labels.tolist()], counts)
    shown = Detections.empty() if view.detections is None else view.detections
    shown = shown[shown.scores >= min_score].to("cpu")
    _log_detections(recording, shown, view.class_names)
    if view.global_from_lidar is not None:
        _log_tracks(recording, view, world_from_lidar @ invert_pose(view.global_from_lidar))
    if view.memory is not None:
        _log_tokens(recording, view.memory)
        _log_reads(recording, view.memory, torch.cat((shown.boxes[shown.remembered], shown.boxes[~shown.remembered])))


def _log_points(recording: rr.RecordingStream, points: Tensor) -> None:
    kept = points[:: max(1, ceil(len(points) / MAX_POINTS)), :3].numpy()
    low, high = HEIGHT_RANGE
    colours = _coloured(style.HEIGHT_COLOURS, (kept[:, 2] - low) / (high - low))
    recording.log("world/ego/points", rr.Points3D(kept, colors=colours, radii=[-0.8]))


def _log_map(recording: rr.RecordingStream, name: str, values: NDArray[np.float32], grid: BEVGrid) -> None:
    """A map [H, W] in 0..1: on the ground in its place, and as an image with forward up."""
    colours = _coloured(style.GATE_COLOURS, values)
    x, y = (grid.x_min, grid.x_max), (grid.y_min, grid.y_max)
    corners = ((0, 0), (1, 0), (1, 1), (0, 1))
    ground = rr.Mesh3D(
        vertex_positions=[(x[right], y[ahead], _GROUND) for right, ahead in corners],
        triangle_indices=[(0, 1, 2), (0, 2, 3)],
        vertex_texcoords=corners,
        albedo_texture=colours,
    )
    recording.log(f"world/ego/{name}", ground)
    recording.log(f"maps/{name}", rr.Image(colours[::-1]))


def _log_truth(recording: rr.RecordingStream, boxes: Tensor, names: Sequence[str], num_points: Tensor) -> None:
    white = _rgb(style.GROUND_TRUTH)
    for path, chosen in (("seen", num_points > 0), ("hidden", num_points == 0)):
        texts = [name for name, one in zip(names, chosen.tolist(), strict=True) if one]
        entity = f"world/ego/truth/{path}"
        _log_boxes(recording, entity, boxes[chosen], texts, [white] * len(texts), radius=-0.4, dashed=path == "hidden")
    recording.log("counts/boxes/hidden", rr.Scalars([int((num_points == 0).sum())]))


def _log_detections(recording: rr.RecordingStream, detections: Detections, class_names: Sequence[str]) -> None:
    for path, chosen in (("observed", ~detections.remembered), ("remembered", detections.remembered)):
        found = detections[chosen]
        names = [class_names[label] for label in found.labels.tolist()]
        texts = [f"{name} {score:.2f}" for name, score in zip(names, found.scores.tolist(), strict=True)]
        colours = [_rgb(style.class_colour(name)) for name in names]
        entity = f"world/ego/detections/{path}"
        is_rare = path == "remembered"  # thirty texts at once hide what they are about
        _log_boxes(recording, entity, found.boxes, texts, colours, radius=-1.1, dashed=is_rare, written=is_rare)
        recording.log(f"counts/boxes/{path}", rr.Scalars([len(found)]))


def _log_boxes(
    recording: rr.RecordingStream,
    entity: str,
    boxes: Tensor,
    texts: Sequence[str],
    colours: Sequence[tuple[int, int, int]],
    *,
    radius: float,
    dashed: bool,
    written: bool = False,
) -> None:
    """Boxes with a text each, under the pointer or written out. Dashed ones are dim hairlines that hold the text, and
    dashes along them.
    """
    shades = _array(colours)
    half_yaw = boxes[:, 6].numpy() / 2
    flat = np.zeros_like(half_yaw)
    outlines = rr.Boxes3D(
        centers=boxes[:, :3].numpy(),
        half_sizes=boxes[:, 3:6].numpy() / 2,
        quaternions=np.stack((flat, flat, np.sin(half_yaw), np.cos(half_yaw)), axis=1),
        colors=shades // 2 if dashed else shades,
        radii=[-0.15 if dashed else radius],
        labels=list(texts),
        show_labels=written,
    )
    recording.log(entity, outlines)
    if dashed:
        each = shades.repeat(len(_EDGES) * _DASHES, axis=0)
        recording.log(f"{entity}/dashes", rr.LineStrips3D(_dashes(boxes), colors=each, radii=[radius]))


def _dashes(boxes: Tensor) -> NDArray[np.float32]:
    """The edges of boxes [K, ≥7] in dashes: lines [K · 12 · dashes, 2, 3], a dash of full length at each corner."""
    ends = box_corners(boxes).numpy()[:, _EDGES]
    start = np.arange(_DASHES) / (_DASHES - 0.4)
    along = np.stack((start, start + 0.6 / (_DASHES - 0.4)), axis=1)[:, :, None]
    lines = ends[:, :, None, :1] + along * (ends[:, :, None, 1:] - ends[:, :, None, :1])
    return lines.reshape(-1, 2, 3)


def _log_tracks(recording: rr.RecordingStream, view: FrameView, world_from_global: Tensor) -> None:
    paths = [transform_points(world_from_global, track.path).numpy() for track in view.tracks]
    colours = [_rgb(style.class_colour(view.class_names[track.label])) for track in view.tracks]
    texts = [f"{view.class_names[track.label]}, track {track.number}" for track in view.tracks]
    tails = rr.LineStrips3D(paths, colors=_array(colours), radii=[-1.1], labels=texts, show_labels=False)
    recording.log("world/tracks", tails)


def _log_tokens(recording: rr.RecordingStream, memory: MemoryView) -> None:
    """The tokens that were read most, larger the more; with their age and the affinity that they received."""
    places, received = most_read(memory)
    position = _on_ground(memory)[places]
    kinds = (
        ("working", places >= memory.long_term, style.WORKING),
        ("long_term", places < memory.long_term, style.LONG_TERM),
    )
    held = memory.read.valid[0].cpu()
    counts = {"working": held[memory.long_term :].sum(), "long_term": held[: memory.long_term].sum()}
    for name, chosen, colour in kinds:
        size = received[chosen].numpy()
        dots = rr.Points3D(position[chosen], colors=[_rgb(colour)], radii=0.05 + 0.12 * np.sqrt(size.clip(0, 9)))
        more = _values(age_s=memory.read.age[0].cpu()[places[chosen]].numpy(), affinity_received=size)
        recording.log(f"world/ego/memory/{name}", dots, *more)
        recording.log(f"counts/tokens/{name}", rr.Scalars([int(counts[name])]))


def _log_reads(recording: rr.RecordingStream, memory: MemoryView, boxes: Tensor) -> None:
    """Arcs from the cells under boxes to the tokens that they read."""
    reads = strongest_reads(memory, boxes)
    position, age = _on_ground(memory), memory.read.age[0].cpu()
    start = np.array([(*read.cell.tolist(), _GROUND) for read in reads]).reshape(-1, 1, 3)
    end = position[[read.token for read in reads]].reshape(-1, 1, 3)
    arcs = start + _ARC[:, None] * (end - start)
    arcs[..., 2] += 4 * _ARC * (1 - _ARC) * (0.8 + 0.2 * np.linalg.norm(end - start, axis=2))
    colours = [_rgb(style.LONG_TERM if read.token < memory.long_term else style.WORKING) for read in reads]
    affinity = np.array([read.affinity for read in reads])
    texts = [f"{read.affinity:.0%} of a token {age[read.token]:.1f} s old" for read in reads]
    lines = rr.LineStrips3D(arcs, colors=_array(colours), radii=-0.3 - 1.5 * affinity, labels=texts, show_labels=False)
    ages = np.array([float(age[read.token]) for read in reads])
    recording.log("world/ego/memory/reads", lines, *_values(affinity=affinity, age_s=ages))


def _values(**columns: NDArray[Any]) -> list[rr.AnyValues]:
    """Numbers [K] to be read beside each instance; rerun does without where K is 0."""
    return [rr.AnyValues(drop_untyped_nones=True, **columns)] if all(map(len, columns.values())) else []


def _on_ground(memory: MemoryView) -> NDArray[np.float64]:
    """Positions [N, 3] of the tokens, which are kept at the height of the sensor, lowered to the ground."""
    return memory.read.position[0].T.numpy(force=True) + _DOWN


def _coloured(colours: Colormap, values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Values in 0..1 as RGB [..., 3]."""
    shades: NDArray[np.uint8] = colours(np.clip(values, 0, 1), bytes=True)[..., :3]
    return shades


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    return red, green, blue


def _array(colours: Sequence[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """RGB [K, 3], also where K is 0."""
    return np.array(colours, dtype=np.uint8).reshape(-1, 3)
