"""``NuScenesIndex``: scenes, splits and key frames of a nuScenes-format data set, without the devkit once it is built.

The first opening goes through the devkit and leaves one plain file beside the tables; later ones map that file.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from remembev.data.build import SPLITS_FILE, TABLE_NAMES, build_tables, check_tables
from remembev.data.frame import Frame
from remembev.data.points import aged, moved_points, read_points, without_ego_returns
from remembev.data.tables import DETECTION_NAMES, IndexTables, load_tables, save_tables
from remembev.errors import DataError
from remembev.files import replacing
from remembev.geometry import relative_pose

INDEX_FILE = "remembev_index.safetensors"

logger = logging.getLogger(__name__)


class NuScenesIndex:
    """What a nuScenes-format data set holds, by number.

    Scenes are numbered in the order of their table, key frames by scene and then by time.
    """

    def __init__(self, root: Path, tables: IndexTables, file: Path) -> None:
        self.root = root
        self.file = file
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
        tables = _load_if_current(file, fingerprint)
        if tables is None:
            tables = _build(root, version, file, fingerprint)
        return cls(root, tables, file)

    def __reduce__(self) -> tuple[Callable[[Path, Path], NuScenesIndex], tuple[Path, Path]]:
        """Workers map the file anew instead of receiving its contents."""
        return _reopen, (self.root, self.file)

    @property
    def num_scenes(self) -> int:
        """How many scenes there are."""
        return len(self._tables.scene_token)

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

    def scene_frames(self, scene: int) -> range:
        """Numbers of a scene's key frames, in order of time."""
        start, stop = self._tables.frame_start[scene : scene + 2].tolist()
        return range(start, stop)

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

    def load_frame(self, number: int, class_names: Sequence[str] = DETECTION_NAMES, num_sweeps: int = 0) -> Frame:
        """A key frame with up to ``num_sweeps`` earlier sweeps, as many as the scene has.

        Boxes are those of ``class_names``, wherever they are. Raises DataError naming the point file that is broken.
        """
        tables = self._tables
        labels = _labels_of(class_names)
        rows = slice(*tables.box_start[number : number + 2].tolist())
        label = labels[tables.box_class[rows].long()]
        known = label >= 0
        return Frame(
            points=self._load_points(int(tables.frame_cloud[number]), num_sweeps),
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

    def _load_points(self, cloud: int, num_sweeps: int) -> Tensor:
        """Points [N, 5] of a cloud and the sweeps before it, all in the cloud's LiDAR frame."""
        tables = self._tables
        clouds = [aged(read_points(self._path(cloud)), 0.0)]
        sweep = int(tables.cloud_previous[cloud])
        while sweep >= 0 and len(clouds) <= num_sweeps:
            cloud_from_sweep = relative_pose(tables.global_from_cloud[cloud], tables.global_from_cloud[sweep])
            age = int(tables.cloud_time[cloud] - tables.cloud_time[sweep]) * 1e-6
            points = without_ego_returns(read_points(self._path(sweep)))
            clouds.append(aged(moved_points(cloud_from_sweep, points), age))
            sweep = int(tables.cloud_previous[sweep])
        return torch.cat(clouds)

    def _path(self, cloud: int) -> Path:
        return self.root / self._tables.cloud_path[cloud].decode()


def _build(root: Path, version: str, file: Path, fingerprint: str) -> IndexTables:
    check_tables(root, version)
    try:
        with replacing(file) as temporary:
            temporary.touch()  # a folder that cannot be written shows before the tables are read, not minutes later
            save_tables(build_tables(root, version), temporary, fingerprint=fingerprint)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file}: cannot write the index ({error}); give another file as `cache`") from error
    return load_tables(file)[0]


def _reopen(root: Path, file: Path) -> NuScenesIndex:
    return NuScenesIndex(root, load_tables(file)[0], file)


def _labels_of(class_names: Sequence[str]) -> Tensor:
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


def _load_if_current(file: Path, fingerprint: str) -> IndexTables | None:
    """The tables in ``file``, if they were built from this fingerprint or there is nothing to build from."""
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
        return tables
    logger.info("the tables beside %s have changed: building it anew", file)
    return None
