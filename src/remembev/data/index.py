"""``NuScenesIndex``: scenes, splits and key frames of a nuScenes-format data set.

It is built once by the devkit and kept in a file beside the tables, which is then memory-mapped without the devkit.
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

from remembev.config.classes import DETECTION_NAMES
from remembev.data.build import SPLITS_FILE, TABLE_NAMES, build_tables, check_tables
from remembev.data.frame import Frame, Sweep, centred_within
from remembev.data.points import move_cloud, read_points
from remembev.data.tables import IndexTables, load_tables, save_tables
from remembev.errors import DataError
from remembev.files import atomic_write

INDEX_FILE = "remembev_index.safetensors"

SLACK_SECONDS = 0.025
"""Tolerance of time windows for clock jitter: half a turn of the LiDAR."""

logger = logging.getLogger(__name__)


class NuScenesIndex:
    """Index of a nuScenes-format data set.

    Scenes are numbered in the order of their table, key frames by scene and then by time.
    """

    def __init__(self, root: Path, tables: IndexTables, file: Path, fingerprint: str) -> None:
        self.root = root
        self.file = file
        self.fingerprint = fingerprint
        self._tables = tables

    @classmethod
    def open(cls, root: str | Path, version: str, *, cache: Path | None = None) -> NuScenesIndex:
        """Open the index of ``<root>/<version>``; it is built if it is missing or older than the tables.

        Args:
            root: Root of the data set.
            version: Folder of the tables. Without tables an existing index is used as it is.
            cache: Index file; None: a file in the version's folder.

        Raises:
            DataError: Naming the broken table, token or file.
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
        """Let loader processes map the file instead of receiving its contents."""
        return _reopen, (self.root, self.file)

    @property
    def num_scenes(self) -> int:
        """Number of scenes."""
        return len(self._tables.scene_token)

    @property
    def num_tracks(self) -> int:
        """Number of objects; track ids are less than this."""
        return int(self._tables.box_track.max()) + 1 if len(self._tables.box_track) else 0

    @property
    def has_sweeps(self) -> bool:
        """True if there are sweeps between the key frames."""
        return len(self._tables.cloud_time) > len(self._tables.frame_time)

    @property
    def splits(self) -> list[str]:
        """Names of the splits: official ones of an official version, and those of its ``splits.json``."""
        return [name.decode() for name in self._tables.split_name]

    def split_scenes(self, split: str) -> list[int]:
        """Return the numbers of a split's scenes in the order of the scene table.

        Raises:
            DataError: If there is no such split.
        """
        if split not in self.splits:
            known = ", ".join(self.splits) or "none"
            raise DataError(f"{self.file}: no split {split!r}; expected one of {known}")
        row = self.splits.index(split)
        start, stop = self._tables.split_start[row : row + 2].tolist()
        return [int(scene) for scene in self._tables.split_scene[start:stop]]

    def describe_split(self, split: str) -> str:
        """Return the size of a split, such as ``24 scenes, 960 key frames``."""
        scenes = self.split_scenes(split)
        return f"{len(scenes)} scenes, {sum(len(self.scene_frames(scene)) for scene in scenes)} key frames"

    def scene_frames(self, scene: int) -> range:
        """Return the numbers of a scene's key frames in order of time."""
        start, stop = self._tables.frame_start[scene : scene + 2].tolist()
        return range(start, stop)

    def frames_before(self, number: int, seconds: float) -> range:
        """Return the numbers of the scene's key frames less than ``seconds`` before key frame ``number``, in order."""
        times, first = self._tables.frame_time, self.scene_frames(int(self._tables.frame_scene[number])).start
        earlier = (times[number] - times[first:number]) * 1e-6 < seconds
        return range(number - int(earlier.sum()), number)

    def scene_name(self, scene: int) -> str:
        """Return the name of a scene, such as ``scene-0061``."""
        return str(self._tables.scene_name[scene].decode())

    def scene_token(self, scene: int) -> str:
        """Return the token of a scene."""
        return str(self._tables.scene_token[scene].decode())

    def find_scene(self, name: str) -> int:
        """Return the number of the scene with a name. Raises DataError if there is none."""
        names = [self.scene_name(scene) for scene in range(self.num_scenes)]
        if name not in names:
            close = ", ".join(get_close_matches(name, names, n=3)) or ", ".join(names[:3])
            raise DataError(f"{self.root}: no scene {name!r} among {len(names)}, such as {close}")
        return names.index(name)

    def find_token(self, token: str) -> int:
        """Return the number of the scene with a token. Raises DataError if there is none."""
        for scene in range(self.num_scenes):
            if self.scene_token(scene) == token:
                return scene
        raise DataError(f"{self.root}: no scene has the token {token!r}")

    def global_from_lidar(self, numbers: Tensor) -> Tensor:
        """Return the global poses [..., 4, 4] float64 of key frames [...]."""
        return self._tables.global_from_cloud[self._tables.frame_cloud[numbers]]

    def timestamps(self, numbers: Tensor) -> Tensor:
        """Return the times [...] float64 of key frames [...] in seconds."""
        return self._tables.frame_time[numbers].double() * 1e-6

    def class_presence(self, class_names: Sequence[str], point_cloud_range: Sequence[float]) -> Tensor:
        """Return True where key frame f has class k [F, K] bool, in a box in range with a LiDAR point."""
        tables = self._tables
        labels = labels_of(class_names)[tables.box_class.long()]
        is_target = (labels >= 0) & (tables.box_points > 0) & centred_within(tables.box, point_cloud_range)
        frame = torch.repeat_interleave(torch.arange(len(tables.frame_time)), tables.box_start.diff())
        presence = torch.zeros(len(tables.frame_time), len(class_names), dtype=torch.bool)
        presence[frame[is_target], labels[is_target]] = True
        return presence

    def load_frame(self, number: int, class_names: Sequence[str] = DETECTION_NAMES, num_sweeps: int = 0) -> Frame:
        """Load a key frame with its points.

        Args:
            number: Number of the key frame.
            class_names: Classes of the boxes, which aren't cropped.
            num_sweeps: Earlier sweeps to stack, fewer at the start of a scene.

        Raises:
            DataError: Naming the broken point file.
        """
        frame = self.load_annotations(number, class_names)
        return replace(frame, points=torch.cat(self.load_clouds(number, num_sweeps, frame.global_from_lidar)))

    def load_annotations(self, number: int, class_names: Sequence[str] = DETECTION_NAMES) -> Frame:
        """Load a key frame without its points."""
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
        scan: Callable[[Tensor], Tensor] | None = None,
    ) -> list[Tensor]:
        """Load the points [N, 5] of a key frame and of earlier sweeps, one tensor per cloud, newest first.

        Args:
            number: Number of the key frame.
            num_sweeps: Earlier sweeps, fewer at the start of a scene.
            global_from_target: Pose [4, 4] float64 of the target coordinates, which may be scaled or mirrored.
            within: Range (x_min, y_min, z_min, x_max, y_max, z_max) in the target coordinates to crop to.
            clear: Boxes [M, ≥7] in the target coordinates; points inside are dropped.
            scan: Changes each cloud as read: points [N, 5] (x, y, z, intensity, ring) in its sensor's frame.
        """
        clouds = islice(self._clouds_before(number), num_sweeps + 1)
        return self._load_stack(list(clouds), global_from_target, within=within, clear=clear, scan=scan)

    def load_raw_cloud(self, number: int) -> Tensor:
        """Load the points [N, 5] of a key frame as its file has them: x, y, z, intensity, ring in the LiDAR's frame."""
        return read_points(self._path(int(self._tables.frame_cloud[number])))

    def load_recent(self, number: int, seconds: float, num_sweeps: int = 0) -> Iterator[Sweep]:
        """Load the clouds of the last ``seconds`` up to a key frame, in order of time, each in its own LiDAR frame.

        Each cloud, of a sweep or a key frame, has up to ``num_sweeps`` of the clouds before it stacked onto it.
        """
        tables = self._tables
        now = int(tables.cloud_time[tables.frame_cloud[number]])
        oldest = now - round((seconds + SLACK_SECONDS) * 1e6)
        recent = list(takewhile(lambda cloud: int(tables.cloud_time[cloud]) >= oldest, self._clouds_before(number)))
        for place in reversed(range(len(recent))):
            stack = recent[place : place + num_sweeps + 1]
            pose = tables.global_from_cloud[stack[0]].clone()
            yield Sweep(torch.cat(self._load_stack(stack, pose)), pose, int(tables.cloud_time[stack[0]]) * 1e-6)

    def _clouds_before(self, number: int) -> Iterator[int]:
        """Yield the numbers of a scene's clouds from a key frame's own backwards in time."""
        cloud = int(self._tables.frame_cloud[number])
        while cloud >= 0:
            yield cloud
            cloud = int(self._tables.cloud_previous[cloud])

    def _load_stack(
        self,
        clouds: Sequence[int],
        global_from_target: Tensor,
        *,
        within: Sequence[float] | None = None,
        clear: Tensor | None = None,
        scan: Callable[[Tensor], Tensor] | None = None,
    ) -> list[Tensor]:
        """Load clouds as ``load_clouds``; the first has age 0 and keeps the returns from the ego vehicle."""
        tables = self._tables
        target_from_global = torch.linalg.inv(global_from_target)
        newest = clouds[0]
        return [
            move_cloud(
                self._read(cloud, scan),
                target_from_global @ tables.global_from_cloud[cloud],
                int(tables.cloud_time[newest] - tables.cloud_time[cloud]) * 1e-6,
                without_ego=cloud != newest,
                within=within,
                clear=clear,
            )
            for cloud in clouds
        ]

    def _read(self, cloud: int, scan: Callable[[Tensor], Tensor] | None) -> Tensor:
        points = read_points(self._path(cloud))
        return points if scan is None else scan(points)

    def _path(self, cloud: int) -> Path:
        return self.root / self._tables.cloud_path[cloud].decode()


def open_without_writing(root: Path, version: str, folder: Path) -> NuScenesIndex:
    """Open a data set; an index that it lacks is written to another folder, so that the data set stays as it is."""
    has_index = (root / version / INDEX_FILE).is_file()
    return NuScenesIndex.open(root, version, cache=None if has_index else folder / INDEX_FILE)


def _build(root: Path, version: str, file: Path, fingerprint: str) -> tuple[IndexTables, str]:
    check_tables(root, version)
    try:
        with atomic_write(file) as temporary:
            temporary.touch()  # an unwritable folder fails now, not minutes later
            save_tables(build_tables(root, version), temporary, fingerprint=fingerprint)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file}: cannot write the index ({error}); choose another file with `cache`") from error
    return load_tables(file)


def _reopen(root: Path, file: Path) -> NuScenesIndex:
    tables, fingerprint = load_tables(file)
    return NuScenesIndex(root, tables, file, fingerprint)


def labels_of(class_names: Sequence[str]) -> Tensor:
    """Return the label [10] int64 of each detection class: its place in ``class_names``, or -1."""
    unknown = [name for name in class_names if name not in DETECTION_NAMES]
    if unknown:
        raise DataError(
            f"{unknown[0]!r} is not a nuScenes detection class; expected one of {', '.join(DETECTION_NAMES)}"
        )
    names = list(class_names)
    return torch.tensor([names.index(name) if name in names else -1 for name in DETECTION_NAMES])


def _fingerprint(folder: Path) -> str:
    """Return names, sizes and times of the tables and splits in a folder; empty without tables."""
    paths = [folder / f"{name}.json" for name in TABLE_NAMES]
    if not any(path.is_file() for path in paths):
        return ""
    files = [path for path in (*paths, folder / SPLITS_FILE) if path.is_file()]
    return json.dumps({path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in files})


def _load_if_current(file: Path, fingerprint: str) -> tuple[IndexTables, str] | None:
    """Load tables and their fingerprint unless they are missing or stale; an empty fingerprint fits any."""
    if not file.is_file():
        return None
    try:
        tables, built_from = load_tables(file)
    except DataError:
        if not fingerprint:
            raise
        logger.info("%s is not a readable index; rebuilding it", file)
        return None
    if fingerprint in ("", built_from):
        return tables, built_from
    logger.info("the tables of %s have changed; rebuilding it", file)
    return None
