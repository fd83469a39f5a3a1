"""Recordings of a few real frames: a key frame in a folder, scenes of a small data set, a file of stacked sweeps.

``play_to_and_fro`` makes a long stream of a recording of two frames or more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from remembev.data import SLACK_SECONDS, Frame, Sweep
from remembev.data.index import open_without_writing
from remembev.data.keyframe import POINTS_FILE, RECORD_FILE, is_keyframe, read_keyframe
from remembev.errors import DataError
from remembev.streaming.sources.dataset import load_scene
from remembev.streaming.sources.stacking import stack_turns

TURN_SECONDS = 0.05
"""One turn of nuScenes' LiDAR: the step at which a single frame is repeated."""
STACK_SECONDS = 0.5
"""Turns older than this are not stacked."""
_MAX_AGE, _MAX_TURNS = 10.0, 100
"""Limits by which a file of stacked sweeps is told from other files."""


@dataclass(frozen=True)
class Recording:
    """The frames of one scene.

    Attributes:
        name: Of the scene.
        annotated: True if the frames have their annotated boxes, False if nothing is known of the objects.
        load: Returns the frames in order of time, each with up to so many earlier sweeps.
    """

    name: str
    annotated: bool
    load: Callable[[int], Iterable[Frame]]


def open_recordings(
    data: Path, class_names: Sequence[str], *, version: str, split: str | None, cache: Path
) -> list[Recording]:
    """Open a key frame's folder, a root in the nuScenes format, or a ``.bin`` file of stacked sweeps.

    Args:
        data: The folder or file.
        class_names: Classes of the boxes.
        version: Version of a data set.
        split: Split of a data set; None: all scenes.
        cache: Folder for the index of a data set that has none yet.

    Raises:
        DataError: Naming what can't be read.
    """
    if data.is_file():
        return [_from_turns(data.stem, read_stacked_sweeps(data), annotated=False)]
    if is_keyframe(data):
        frame = read_keyframe(data, class_names)
        return [_from_turns(data.name, [frame], annotated=True)]
    if not (data / version).is_dir():
        raise DataError(
            f"{data}: neither a key frame ({RECORD_FILE} and {POINTS_FILE}) nor a data set of version {version!r}"
        )
    index = open_without_writing(data, version, cache)
    scenes = range(index.num_scenes) if split is None else index.split_scenes(split)
    return [
        Recording(index.scene_name(scene), True, partial(load_scene, index, scene, class_names)) for scene in scenes
    ]


def read_stacked_sweeps(path: Path) -> list[Frame]:
    """Read the turns of a file of stacked sweeps, oldest first, without annotations.

    All turns have the pose of the newest one, in whose coordinates the file is.

    Args:
        path: float16 [N, 5]: x, y, z, intensity, age in seconds.

    Raises:
        DataError: If the file is no such file.
    """
    values = np.fromfile(path, dtype="<f2")
    if len(values) == 0 or len(values) % 5:
        raise DataError(f"{path}: {2 * len(values)} bytes is not a multiple of 10 bytes per point (float16 [N, 5])")
    points = torch.from_numpy(values.astype(np.float32).reshape(-1, 5))
    ages = sorted(set(points[:, 4].tolist()))
    if not points.isfinite().all() or ages[0] != 0 or ages[-1] > _MAX_AGE or len(ages) > _MAX_TURNS:
        raise DataError(f"{path}: not stacked sweeps: expected float16 [N, 5] with ages in seconds from 0 in column 5")
    return [_turn(path.stem, points[points[:, 4] == age], age) for age in reversed(ages)]


def play_to_and_fro(recording: Recording, steps: int) -> Recording:
    """Return a recording whose frames are played forwards and backwards as one stream of ``steps`` frames.

    Clouds, annotations and poses are the recorded ones; the time goes on by the recorded gaps. A single frame is
    repeated every ``TURN_SECONDS``. Velocities are those of the recording, whatever the direction of play.
    """
    frames = list(recording.load(0))
    return _from_turns(recording.name, _to_and_fro(frames, steps), annotated=recording.annotated)


def _to_and_fro(frames: Sequence[Frame], steps: int) -> list[Frame]:
    order = list(islice(cycle([*range(len(frames)), *range(len(frames) - 2, 0, -1)]), steps))
    recorded = np.array([frames[row].timestamp for row in order])
    gaps = np.abs(np.diff(recorded)) if len(frames) > 1 else np.full(steps - 1, TURN_SECONDS)
    times = recorded[0] + np.concatenate(([0.0], gaps.cumsum()))
    return [replace(frames[row], timestamp=float(time)) for row, time in zip(order, times, strict=True)]


def _from_turns(name: str, turns: Sequence[Frame], *, annotated: bool) -> Recording:
    return Recording(name, annotated, partial(_stacked, turns))


def _stacked(turns: Iterable[Frame], num_sweeps: int) -> Iterator[Frame]:
    """Yield frames with up to ``num_sweeps`` of the turns in the last ``STACK_SECONDS`` stacked."""
    recent: deque[Sweep] = deque(maxlen=num_sweeps + 1)
    for frame in turns:
        recent.appendleft(Sweep(frame.points, frame.global_from_lidar, frame.timestamp))
        oldest = frame.timestamp - STACK_SECONDS - SLACK_SECONDS
        yield replace(frame, points=stack_turns([turn for turn in recent if turn.timestamp >= oldest]))


def _turn(scene: str, points: Tensor, age: float) -> Frame:
    """Return a frame without annotations, ``age`` seconds before time 0, at the origin."""
    none = torch.zeros(0, dtype=torch.int64)
    return Frame(
        points=torch.cat((points[:, :4], torch.zeros(len(points), 1)), dim=1),
        global_from_lidar=torch.eye(4, dtype=torch.float64),
        timestamp=-age,
        scene_token=scene,
        sample_token=f"{scene}/{-age:.2f}",
        boxes=torch.zeros(0, 9),
        labels=none,
        track_ids=none,
        num_points=none,
        visibility=none,
    )
