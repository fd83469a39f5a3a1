"""A scene as a rerun recording: points, boxes, tracks, gate and memory reads, by time and by frame.

Entities under ``world/ego`` are in the current LiDAR frame, which moves in ``world``, the LiDAR frame of the scene's
first key frame. Dashes mean, as in the pictures: no point inside.
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
from remembev.viewing.reads import (
    MAX_CELLS,
    MAX_TOKENS,
    MIN_AFFINITY,
    READS_PER_CELL,
    most_read,
    strongest_reads,
)
from remembev.viewing.views import FrameView, MemoryView, track_labels

MAX_POINTS = 30_000
"""Points of a frame that are kept; larger clouds are thinned evenly."""

_GROUND = -2.1
"""Height of maps and tokens in the LiDAR frame, metres: just below the road."""
_TO_GROUND = np.array([0, 0, _GROUND])
_BOX_EDGES = np.array([(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)])
_DASHES_PER_EDGE = 4
_ARC = np.linspace(0, 1, 9)
_EGO_CENTRE, _EGO_HALF_SIZE = (0.0, 0.1, -1.1), (0.95, 2.5, 0.75)
_CAMERA_HEIGHT, _CAMERA_PIXELS = 400.0, 1000
"""Camera of the view from above; so high up that perspective hardly shows."""

_NO_AXES: dict[str, Any] = {} if hasattr(rr, "TransformAxes3D") else {"axis_length": 0}
"""Early versions of rerun draw the axes of every transform unless told not to."""

_SERIES = {
    "counts/boxes/observed": ("observed", style.TEXT),
    "counts/boxes/remembered": ("remembered", "#ffd166"),
    "counts/boxes/hidden": ("true objects without a point", style.MUTED_TEXT),
    "counts/tokens/working": ("working memory", style.WORKING),
    "counts/tokens/long_term": ("long-term memory", style.LONG_TERM),
}
"""Name and colour of each time series."""

_LEGEND = f"""# {{title}}

| mark | meaning |
|---|---|
| box in a class colour | detection with a score of at least {{min_score:g}} |
| dashed box in a class colour | remembered detection: no point inside in this frame |
| thin white box | ground truth; dashed if it has no point |
| line behind a box | where that track was before |
| number behind a score | track; in brackets if it coasts: the detector doesn't find the object |
| ground | gate, from closed (dark) to open (bright) |
| dot on the ground | memory token that was read: green in working memory, violet in long-term memory |
| arc | read of a token by the cell under a box; the thicker, the larger its share |

{{points}} Tokens shown: the {MAX_TOKENS:,} of a frame that were read most. Arcs shown: for up to {MAX_CELLS} boxes,
remembered ones first, the {READS_PER_CELL} largest reads of each with a share of at least {MIN_AFFINITY:.0%}.
"""


def write_recording(path: Path, views: Sequence[FrameView], *, min_score: float = 0.25) -> None:
    """Write the frames of a scene as a recording (``.rrd``) with its layout; leave out detections below ``min_score``.

    The timelines are ``elapsed``, seconds since the scene's start, and ``frame``. Viewers open the first in
    alphabetical order, which plays at the scene's own speed.

    Raises:
        ValueError: There is no frame.
    """
    if not views:
        raise ValueError("a recording needs at least one frame")
    world_from_lidar = [_first_from_frame(views[0], view) for view in views]
    with atomic_write(path) as temporary:
        recording = rr.RecordingStream("remembev")
        recording.save(temporary, default_blueprint=layout(views[0].title))
        try:
            _log_static(recording, views, min_score)
            _log_ego_path(recording, world_from_lidar)
            for number, (view, pose) in enumerate(zip(views, world_from_lidar, strict=True)):
                recording.set_time("frame", sequence=number)
                recording.set_time("elapsed", duration=view.seconds or 0.0)
                _log_frame(recording, view, pose, min_score)
        finally:
            recording.disconnect()


def layout(title: str) -> rrb.Blueprint:
    """Return the viewer's layout: 3D scene, view from above, maps, time series and legend."""
    contents = ["+ /world/**", "- /world/ego/above/**", "- /world/ego/occupancy/**"]
    background = _rgb(style.BACKGROUND)
    scene = rrb.Spatial3DView(origin="/world", contents=contents, name=title or "scene", background=background)
    above = rrb.Spatial2DView(origin="/world/ego/above", contents=contents, name="from above", background=background)
    maps = [rrb.Spatial2DView(origin=f"/maps/{name}", name=name) for name in ("gate", "occupancy")]
    curves = [rrb.TimeSeriesView(origin=f"/counts/{name}", name=name) for name in ("boxes", "tokens")]
    legend = rrb.TextDocumentView(origin="/legend", name="legend")
    return rrb.Blueprint(
        rrb.Horizontal(
            rrb.Vertical(scene, rrb.Horizontal(*curves), row_shares=[3, 1]),
            rrb.Vertical(above, rrb.Tabs(rrb.Horizontal(*maps, name="maps"), legend), row_shares=[3, 2]),
            column_shares=[3, 2],
        ),
        rrb.TimePanel(state="expanded"),
        rrb.BlueprintPanel(state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
    )


def kept_points(views: Sequence[FrameView]) -> str:
    """Return a sentence that says how far the points were thinned."""
    largest = max((len(_in_range(view.points, view.grid)) for view in views if view.points is not None), default=0)
    step = ceil(largest / MAX_POINTS)
    if step <= 1:
        return "All points in range are kept."
    return f"At most {MAX_POINTS:,} points of a frame are kept, down to one in {step}."


def _in_range(points: Tensor, grid: BEVGrid) -> Tensor:
    """Return the points [N, ≥3] on the grid."""
    return points[grid.cells(points)[2]].cpu()


def _first_from_frame(first: FrameView, view: FrameView) -> Tensor:
    """Return a frame's pose in the first frame [4, 4] float64; its values are small enough for rerun's float32."""
    if first.global_from_lidar is None or view.global_from_lidar is None:
        return torch.eye(4, dtype=torch.float64)
    return invert_pose(first.global_from_lidar) @ view.global_from_lidar


# --------------------------------------------------------------------------------------------------- static entities


def _log_static(recording: rr.RecordingStream, views: Sequence[FrameView], min_score: float) -> None:
    """Log the legend, the car, the camera above it, and the names of the time series."""
    legend = _LEGEND.format(title=views[0].title or "RememBEV", min_score=min_score, points=kept_points(views))
    recording.log("legend", rr.TextDocument(legend, media_type="text/markdown"), static=True)
    recording.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    car = rr.Boxes3D(centers=[_EGO_CENTRE], half_sizes=[_EGO_HALF_SIZE], colors=[_rgb(style.TEXT)])
    recording.log("world/ego", car, static=True)
    camera = rr.Transform3D(translation=(0.0, 0.0, _CAMERA_HEIGHT), mat3x3=np.diag([1.0, -1.0, -1.0]), **_NO_AXES)
    recording.log("world/ego/above", camera, static=True)
    focal = _CAMERA_PIXELS * _CAMERA_HEIGHT / (views[0].grid.x_max - views[0].grid.x_min)
    lens = rr.Pinhole(focal_length=focal, width=_CAMERA_PIXELS, height=_CAMERA_PIXELS)
    recording.log("world/ego/above", lens, static=True)
    for path, (name, colour) in _SERIES.items():
        recording.log(path, rr.SeriesLines(colors=[_rgb(colour)], names=[name], widths=[2]), static=True)


def _log_ego_path(recording: rr.RecordingStream, world_from_lidar: Sequence[Tensor]) -> None:
    """Log the car's path through the scene."""
    path = torch.stack([pose[:3, 3] for pose in world_from_lidar]).numpy() + _TO_GROUND
    recording.log("world/ego_path", rr.LineStrips3D([path], colors=[_rgb(style.MUTED_LINE)], radii=[-1]), static=True)


# ------------------------------------------------------------------------------------------------ entities of a frame


def _log_frame(recording: rr.RecordingStream, view: FrameView, world_from_lidar: Tensor, min_score: float) -> None:
    pose = world_from_lidar.numpy()
    recording.log("world/ego", rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3], **_NO_AXES))
    if view.points is not None:
        _log_points(recording, _in_range(view.points, view.grid))
    for name, values in (("gate", view.gate), ("occupancy", view.occupancy)):
        if values is not None:
            _log_map(recording, name, values.numpy(force=True), view.grid)
    if view.gt_boxes is not None and view.gt_labels is not None and view.gt_num_points is not None:
        valid = view.grid.cells(view.gt_boxes)[2] & (view.gt_labels >= 0)
        boxes, labels, counts = (values[valid].cpu() for values in (view.gt_boxes, view.gt_labels, view.gt_num_points))
        _log_truth(recording, boxes, [view.class_names[label] for label in labels.tolist()], counts)
    detections = view.shown_detections(min_score)
    _log_detections(recording, detections, view.class_names)
    if view.global_from_lidar is not None:
        _log_tracks(recording, view, world_from_lidar @ invert_pose(view.global_from_lidar))
    if view.memory is not None:
        _log_tokens(recording, view.memory)
        remembered_first = detections.remembered.argsort(descending=True, stable=True)
        _log_reads(recording, view.memory, detections.boxes[remembered_first])


def _log_points(recording: rr.RecordingStream, points: Tensor) -> None:
    kept = points[:: max(1, ceil(len(points) / MAX_POINTS)), :3].numpy()
    low, high = HEIGHT_RANGE
    colours = _map_colours(style.HEIGHT_COLOURS, (kept[:, 2] - low) / (high - low))
    recording.log("world/ego/points", rr.Points3D(kept, colors=colours, radii=[-0.8]))


def _log_map(recording: rr.RecordingStream, name: str, values: NDArray[np.float32], grid: BEVGrid) -> None:
    """Log a map [H, W] in 0..1, on the ground in its place, and as an image with forward up."""
    colours = _map_colours(style.GATE_COLOURS, values)
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
    for path, mask in (("seen", num_points > 0), ("hidden", num_points == 0)):
        texts = [name for name, selected in zip(names, mask.tolist(), strict=True) if selected]
        entity = f"world/ego/truth/{path}"
        _log_boxes(recording, entity, boxes[mask], texts, [white] * len(texts), radius=-0.4, dashed=path == "hidden")
    recording.log("counts/boxes/hidden", rr.Scalars([int((num_points == 0).sum())]))


def _log_detections(recording: rr.RecordingStream, detections: Detections, class_names: Sequence[str]) -> None:
    for path, mask in (("observed", ~detections.remembered), ("remembered", detections.remembered)):
        subset = detections[mask]
        names = [class_names[label] for label in subset.labels.tolist()]
        columns = zip(names, subset.scores.tolist(), track_labels(subset), strict=True)
        texts = [f"{name} {score:.2f} {track}".rstrip() for name, score, track in columns]
        colours = [_rgb(style.class_colour(name)) for name in names]
        entity = f"world/ego/detections/{path}"
        rare = path == "remembered"  # the labels of thirty boxes would hide the scene
        _log_boxes(recording, entity, subset.boxes, texts, colours, radius=-1.1, dashed=rare, show_labels=rare)
        recording.log(f"counts/boxes/{path}", rr.Scalars([len(subset)]))


def _log_boxes(
    recording: rr.RecordingStream,
    entity: str,
    boxes: Tensor,
    texts: Sequence[str],
    colours: Sequence[tuple[int, int, int]],
    *,
    radius: float,
    dashed: bool,
    show_labels: bool = False,
) -> None:
    """Log boxes with a label each, always shown or on hover; dashed ones are dim hairlines with dashes along them."""
    rgb = _rgb_array(colours)
    half_yaw = boxes[:, 6].numpy() / 2
    flat = np.zeros_like(half_yaw)
    outlines = rr.Boxes3D(
        centers=boxes[:, :3].numpy(),
        half_sizes=boxes[:, 3:6].numpy() / 2,
        quaternions=np.stack((flat, flat, np.sin(half_yaw), np.cos(half_yaw)), axis=1),
        colors=rgb // 2 if dashed else rgb,
        radii=[-0.15 if dashed else radius],
        labels=list(texts),
        show_labels=show_labels,
    )
    recording.log(entity, outlines)
    if dashed:
        dash_rgb = rgb.repeat(len(_BOX_EDGES) * _DASHES_PER_EDGE, axis=0)
        recording.log(f"{entity}/dashes", rr.LineStrips3D(_dashes(boxes), colors=dash_rgb, radii=[radius]))


def _dashes(boxes: Tensor) -> NDArray[np.float32]:
    """Return the edges of boxes [K, ≥7] as dashes [K · 12 · dashes, 2, 3], with a full dash at each corner."""
    ends = box_corners(boxes).numpy()[:, _BOX_EDGES]
    periods = _DASHES_PER_EDGE - 0.4
    start = np.arange(_DASHES_PER_EDGE) / periods
    along = np.stack((start, start + 0.6 / periods), axis=1)[:, :, None]
    lines = ends[:, :, None, :1] + along * (ends[:, :, None, 1:] - ends[:, :, None, :1])
    return lines.reshape(-1, 2, 3)


def _log_tracks(recording: rr.RecordingStream, view: FrameView, world_from_global: Tensor) -> None:
    paths = [transform_points(world_from_global, track.path).numpy() for track in view.tracks]
    colours = [_rgb(style.class_colour(view.class_names[track.label])) for track in view.tracks]
    texts = [f"{view.class_names[track.label]}, track {track.track_id}" for track in view.tracks]
    tails = rr.LineStrips3D(paths, colors=_rgb_array(colours), radii=[-1.1], labels=texts, show_labels=False)
    recording.log("world/tracks", tails)


def _log_tokens(recording: rr.RecordingStream, memory: MemoryView) -> None:
    """Log the tokens that were read most, sized by total affinity, and the number of tokens in each memory."""
    indices, affinity = most_read(memory)
    position, age = _on_ground(memory)[indices], memory.read.age[0].cpu()[indices]
    valid = memory.read.valid[0].cpu()
    stores = (
        ("working", indices >= memory.long_term, valid[memory.long_term :], style.WORKING),
        ("long_term", indices < memory.long_term, valid[: memory.long_term], style.LONG_TERM),
    )
    for name, mask, valid_tokens, colour in stores:
        received = affinity[mask].numpy()
        radii = 0.05 + 0.12 * np.sqrt(received.clip(0, 9))
        dots = rr.Points3D(position[mask], colors=[_rgb(colour)], radii=radii)
        values = _any_values(age_s=age[mask].numpy(), affinity_received=received)
        recording.log(f"world/ego/memory/{name}", dots, *values)
        recording.log(f"counts/tokens/{name}", rr.Scalars([int(valid_tokens.sum())]))


def _log_reads(recording: rr.RecordingStream, memory: MemoryView, boxes: Tensor) -> None:
    """Log arcs from the cells under boxes to the tokens that they read."""
    reads = strongest_reads(memory, boxes)
    position, age = _on_ground(memory), memory.read.age[0].cpu()
    start = np.array([(*read.cell.tolist(), _GROUND) for read in reads]).reshape(-1, 1, 3)
    end = position[[read.token for read in reads]].reshape(-1, 1, 3)
    arcs = start + _ARC[:, None] * (end - start)
    arcs[..., 2] += 4 * _ARC * (1 - _ARC) * (0.8 + 0.2 * np.linalg.norm(end - start, axis=2))
    colours = [_rgb(style.LONG_TERM if read.token < memory.long_term else style.WORKING) for read in reads]
    affinity = np.array([read.affinity for read in reads])
    texts = [f"{read.affinity:.0%} of a token {age[read.token]:.1f} s old" for read in reads]
    lines = rr.LineStrips3D(
        arcs, colors=_rgb_array(colours), radii=-0.3 - 1.5 * affinity, labels=texts, show_labels=False
    )
    ages = np.array([float(age[read.token]) for read in reads])
    recording.log("world/ego/memory/reads", lines, *_any_values(affinity=affinity, age_s=ages))


def _any_values(**columns: NDArray[Any]) -> list[rr.AnyValues]:
    """Return numbers [K] to show for each instance; nothing where K is 0, which rerun can't log."""
    return [rr.AnyValues(drop_untyped_nones=True, **columns)] if all(map(len, columns.values())) else []


def _on_ground(memory: MemoryView) -> NDArray[np.float64]:
    """Return the tokens' positions [N, 3], stored at the height of the sensor, lowered to the ground."""
    return memory.read.position[0].T.numpy(force=True) + _TO_GROUND


def _map_colours(colours: Colormap, values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return RGB [..., 3] of values in 0..1."""
    rgb: NDArray[np.uint8] = colours(np.clip(values, 0, 1), bytes=True)[..., :3]
    return rgb


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    return red, green, blue


def _rgb_array(colours: Sequence[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """Return RGB [K, 3], also where K is 0."""
    return np.array(colours, dtype=np.uint8).reshape(-1, 3)
