"""``NuScenesIndex``: scenes, splits and key frames of a nuScenes-format data set, without the devkit once it is built.

The first opening goes through the devkit and leaves one plain file beside the tables; later ones map that file.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice, takewhile
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from remembev.data.build import SPLITS_FILE, TABLE_NAMES, build_tables, check_tables
from remembev.data.frame import Frame, Sweep, centred_within
from remembev.data.points import moved_cloud, read_points
from remembev.data.tables import DETECTION_NAMES, IndexTables, load_tables, save_tables
from remembev.errors import DataError
from remembev.files import atomic_write

INDEX_FILE = "remembev_index.safetensors"

SLACK_SECONDS = 0.025
"""A time that is longer than a window by no more than half a turn of the LiDAR is in it: clocks have jitter."""

logger = logging.getLogger(__name__)


class NuScenesIndex:
    """What a nuScenes-format data set holds, by number.

    Scenes are numbered in the order of their table, key frames by scene and then by time.
    """

    def __init__(self, root: Path, tables: IndexTables, file: Path, fingerprint: str) -> None:
        self.root = root
        self.file = file
        self.fingerprint = fingerprint
        self._tables = tables

    @classmethod
    def open(cls, root: str | Path, version: str, *, cache: Path | None = None) -> NuScenesIndex:
        """The index of ``<root>/<version>``, built first if it is not there or the tables have changed since.

        ``cache`` is the index file, by default in the version's folder. Where there are no tables, an index that is
        there is used as it is. Raises DataError naming the table, token or file at fault.
        """
        root = Path(root)
        folder = root / version
        file = cache if cache is not None else folder / INDEX_FILE
        fingerprint = _fingerprint(folder)
        loaded = _load_if_current(file, fingerprint)
        if loaded is None:
            loaded = _build(root, version, file, fingerprint)
        return cls(root, loaded[0], file, loaded[1])

    def __reduce__(self) -> tuple[Callable[[Path, Path], NuScenesIndex], tuple[Path, Path]]:
        """Workers map the file anew instead of receiving its contents."""
        return _reopen, (self.root, self.file)

    @property
    def num_scenes(self) -> int:
        """How many scenes there are."""
        return len(self._tables.scene_token)

    @property
    def num_tracks(self) -> int:
        """How many objects there are: track ids are less than this."""
        return int(self._tables.box_track.max()) + 1 if len(self._tables.box_track) else 0

    @property
    def has_sweeps(self) -> bool:
        """Whether there are sweeps between the key frames."""
        return len(self._tables.cloud_time) > len(self._tables.frame_time)

    @property
    def splits(self) -> list[str]:
        """Names of the splits: the official ones of an official version, and those of the root's ``splits.json``."""
        return [name.decode() for name in self._tables.split_name]

    def split_scenes(self, split: str) -> list[int]:
        """Numbers of the scenes in a split, in the order of the scene table.

        Raises DataError if there is no such split.
        """
        if split not in self.splits:
            known = ", ".join(self.splits) or "none"
            raise DataError(f"{self.file}: no split {split!r}; there are: {known}")
        row = self.splits.index(split)
        start, stop = self._tables.split_start[row : row + 2].tolist()
        return [int(scene) for scene in self._tables.split_scene[start:stop]]

    def describe_split(self, split: str) -> str:
        """Return how much a split holds, such as ``24 scenes, 960 key frames``."""
        scenes = self.split_scenes(split)
        return f"{len(scenes)} scenes, {sum(len(self.scene_frames(scene)) for scene in scenes)} key frames"

    def scene_frames(self, scene: int) -> range:
        """Numbers of a scene's key frames, in order of time."""
        start, stop = self._tables.frame_start[scene : scene + 2].tolist()
        return range(start, stop)

    def frames_before(self, number: int, seconds: float) -> range:
        """Numbers of the key frames of the same scene in the time before key frame ``number``, in order."""
        times, first = self._tables.frame_time, self.scene_frames(int(self._tables.frame_scene[number])).start
        earlier = (times[number] - times[first:number]) * 1e-6 < seconds
        return range(number - int(earlier.sum()), number)

    def scene_name(self, scene: int) -> str:
        """Name of a scene, as in ``scene-0061``."""
        return str(self._tables.scene_name[scene].decode())

    def scene_token(self, scene: int) -> str:
        """Token of a scene."""
        return str(self._tables.scene_token[scene].decode())

    def find_scene(self, name: str) -> int:
        """Number of the scene of that name. Raises DataError if there is none."""
        names = [self.scene_name(scene) for scene in range(self.num_scenes)]
        if name not in names:
            close = ", ".join(get_close_matches(name, names, n=3)) or ", ".join(names[:3])
            raise DataError(f"{self.root}: no scene {name!r}; there are {len(names)}, such as {close}")
        return names.index(name)

    def find_token(self, token: str) -> int:
        """Number of the scene with that token. Raises DataError if there is none."""
        for scene in range(self.num_scenes):
            if self.scene_token(scene) == token:
                return scene
        raise DataError(f"{self.root}: no scene has the token {token!r}")

    def global_from_lidar(self, numbers: Tensor) -> Tensor:
        """Global poses [..., 4, 4] float64 of key frames [...]."""
        return self._tables.global_from_cloud[self._tables.frame_cloud[numbers]]

    def timestamps(self, numbers: Tensor) -> Tensor:
        """Times [...] float64 of key frames [...], seconds."""
        return self._tables.frame_time[numbers].double() * 1e-6

    def class_presence(self, class_names: Sequence[str], point_cloud_range: Sequence[float]) -> Tensor:
        """Which key frames hold which classes, [F, K] bool, in boxes to learn from: in range and with a LiDAR point."""
        tables = self._tables
        labels = labels_of(class_names)[tables.box_class.long()]
        counts = (labels >= 0) & (tables.box_points > 0) & centred_within(tables.box, point_cloud_range)
        owner = torch.repeat_interleave(torch.arange(len(tables.frame_time)), tables.box_start.diff())
        presence = torch.zeros(len(tables.frame_time), len(class_names), dtype=torch.bool)
        presence[owner[counts], labels[counts]] = True
        return presence

    def load_frame(self, number: int, class_names: Sequence[str] = DETECTION_NAMES, num_sweeps: int = 0) -> Frame:
        """A key frame with up to ``num_sweeps`` earlier sweeps, as many as the scene has.

        Boxes are those of ``class_names``, wherever they are. Raises DataError naming the point file that is broken.
        """
        frame = self.load_annotations(number, class_names)
        return replace(frame, points=torch.cat(self.load_clouds(number, num_sweeps, frame.global_from_lidar)))

    def load_annotations(self, number: int, class_names: Sequence[str] = DETECTION_NAMES) -> Frame:
        """A key frame without its points."""
        tables = self._tables
        rows = slice(*tables.box_start[number : number + 2].tolist())
        label = labels_of(class_names)[tables.box_class[rows].long()]
        known = label >= 0
        return Frame(
            points=torch.zeros(0, 5),
            global_from_lidar=tables.global_from_cloud[tables.frame_cloud[number]].clone(),
            timestamp=int(tables.frame_time[number]) * 1e-6,
            scene_token=self.scene_token(int(tables.frame_scene[number])),
            sample_token=str(tables.frame_token[number].decode()),
            boxes=tables.box[rows][known].nan_to_num(nan=0.0),
            labels=label[known],
            track_ids=tables.box_track[rows][known].long(),
            num_points=tables.box_points[rows][known].long(),
            visibility=tables.box_visibility[rows][known].long(),
        )

    def load_clouds(
        self,
        number: int,
        num_sweeps: int,
        global_from_target: Tensor,
        *,
        within: Sequence[float] | None = None,
        clear: Tensor | None = None,
    ) -> list[Tensor]:
        """Points [N, 5] of a key frame, then of up to ``num_sweeps`` sweeps before it, a tensor each.

        All are in the coordinates whose pose is ``global_from_target`` [4, 4] float64, which may be scaled or mirrored;
        only those ``within`` a range (x_min, y_min, z_min, x_max, y_max, z_max) of them are kept, and none in the boxes
        ``clear`` [M, ≥7].
        """
        clouds = islice(self._back_from(number), num_sweeps + 1)
        return self._stacked(list(clouds), global_from_target, within=within, clear=clear)

    def load_recent(self, number: int, seconds: float, num_sweeps: int = 0) -> Iterator[Sweep]:
        """The clouds of the last ``seconds`` up to a key frame's own, in order of time, each as a frame of its own.

        Earlier key frames are clouds like any other. Each frame stacks up to ``num_sweeps`` clouds before it, none of
        them older than the first of all.
        """
        tables = self._tables
        now = int(tables.cloud_time[tables.frame_cloud[number]])
        oldest = now - round((seconds + SLACK_SECONDS) * 1e6)
        recent = list(takewhile(lambda cloud: int(tables.cloud_time[cloud]) >= oldest, self._back_from(number)))
        for place in reversed(range(len(recent))):
            stack = recent[place : place + num_sweeps + 1]
            pose = tables.global_from_cloud[stack[0]].clone()
            yield Sweep(torch.cat(self._stacked(stack, pose)), pose, int(tables.cloud_time[stack[0]]) * 1e-6)

    def _back_from(self, number: int) -> Iterator[int]:
        """Numbers of the clouds of a scene from a key frame's own back in time."""
        cloud = int(self._tables.frame_cloud[number])
        while cloud >= 0:
            yield cloud
            cloud = int(self._tables.cloud_previous[cloud])

    def _stacked(
        self,
        clouds: Sequence[int],
        global_from_target: Tensor,
        *,
        within: Sequence[float] | None = None,
        clear: Tensor | None = None,
    ) -> list[Tensor]:
        """Points of clouds as in ``load_clouds``; the first, the newest, has age 0 and keeps the car's own returns."""
        tables = self._tables
        target_from_global = torch.linalg.inv(global_from_target)
        newest = clouds[0]
        return [
            moved_cloud(
                read_points(self._path(cloud)),
                target_from_global @ tables.global_from_cloud[cloud],
                int(tables.cloud_time[newest] - tables.cloud_time[cloud]) * 1e-6,
                without_ego=cloud != newest,
                within=within,
                clear=clear,
            )
            for cloud in clouds
        ]

    def _path(self, cloud: int) -> Path:
        return self.root / self._tables.cloud_path[cloud].decode()


def _build(root: Path, version: str, file: Path, fingerprint: str) -> tuple[IndexTables, str]:
    check_tables(root, version)
    try:
        with atomic_write(file) as temporary:
            temporary.touch()  # a folder that cannot be written shows before the tables are read, not minutes later
            save_tables(build_tables(root, version), temporary, fingerprint=fingerprint)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file}: cannot write the index ({error}); give another file as `cache`") from error
    return load_tables(file)


def _reopen(root: Path, file: Path) -> NuScenesIndex:
    tables, fingerprint = load_tables(file)
    return NuScenesIndex(root, tables, file, fingerprint)


def labels_of(class_names: Sequence[str]) -> Tensor:
    """Label [10] int64 of each detection class: its place in ``class_names``, -1 if it is not among them."""
    unknown = [name for name in class_names if name not in DETECTION_NAMES]
    if unknown:
        raise DataError(f"{unknown[0]!r} is no nuScenes detection class; there are: {', '.join(DETECTION_NAMES)}")
    names = list(class_names)
    return torch.tensor([names.index(name) if name in names else -1 for name in DETECTION_NAMES])


def _fingerprint(folder: Path) -> str:
    """Names, sizes and times of the tables and splits in a folder; empty if there is no table."""
    paths = [folder / f"{name}.json" for name in TABLE_NAMES]
    if not any(path.is_file() for path in paths):
        return ""
    found = [path for path in (*paths, folder / SPLITS_FILE) if path.is_file()]
    return json.dumps({path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in found})


def _load_if_current(file: Path, fingerprint: str) -> tuple[IndexTables, str] | None:
    """The tables in ``file`` with what they were built from, if it is this fingerprint or there are no tables now."""
    if not file.is_file():
        return None
    try:
        tables, built_from = load_tables(file)
    except DataError:
        if not fingerprint:
            raise
        logger.info("%s is not a readable index: building it anew", file)
        return None
    if fingerprint in ("", built_from):
        return tables, built_from
    logger.info("the tables beside %s have changed: building it anew", file)
    return None
