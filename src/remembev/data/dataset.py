"""``NuScenesSeqDataset``: clips of a nuScenes-format data set as dictionaries of [T, ...] tensors.

Boxes of a clip are loaded, pasted, aligned, augmented, cropped and rasterised, in that order. Points are read last,
changed to those of another sensor where the augmentation asks for one, and transformed once, to the final coordinates
of their frame.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from remembev.config.schema import DataConfig
from remembev.config.validation import as_section
from remembev.data.augmentation import conjugate_poses, draw_similarity
from remembev.data.collate import Clip, pad_clouds, pad_stack
from remembev.data.frame import Frame, centred_within, seconds_unseen
from remembev.data.index import NuScenesIndex
from remembev.data.masks import agent_masks, scene_masks
from remembev.data.pasting import TrackPaster
from remembev.data.points import shuffle_points
from remembev.data.resampling import balanced_resampling
from remembev.data.sampler import Draw, seeded
from remembev.data.sensor_augmentation import ClipSensor, Sensor, draw_clip_sensor, recounted
from remembev.data.tracks import TrackDatabase
from remembev.errors import DataError
from remembev.geometry import BEVGrid, relative_pose, transform_points

SWEEP_SECONDS = 0.05
"""Duration of one turn of nuScenes' LiDAR."""
_MUCH_LOST = 0.2
"""Share of a frame's points that explicit alignment may lose without a warning."""


class NuScenesSeqDataset(Dataset[Clip]):
    """Clips of ``seq_len`` key frames, ``stride`` apart; one starts at every key frame from which it fits its scene.

    Items have the keys of a ``ClipBatch`` with values [T, ...]; ``agent_masks`` and ``valids_mask`` only if
    ``AGENT_SLOTS`` is more than 1. With ``ALIGNMENT: explicit`` clips are in the coordinates of their last frame, and
    both relative poses are the identity; ``seq_len`` is capped so that all frames overlap the last one's range.
    """

    def __init__(
        self,
        dataset_cfg: DataConfig | Mapping[str, Any],
        class_names: Sequence[str],
        training: bool = True,
        root_path: str | Path | None = None,
        logger: logging.Logger | None = None,
        seq_len: int | None = None,
        stride: int | None = None,
        nusc_version: str | None = None,
        nusc_dataroot: str | Path | None = None,
        *,
        mask_grid: BEVGrid | None = None,
        cache: Path | None = None,
    ) -> None:
        """Open a split of a data set.

        Args:
            dataset_cfg: Section DATA_CONFIG of the configuration, also as a dictionary or ``EasyDict`` of its keys.
            class_names: Classes; labels are places in them.
            training: Use the split ``DATA_SPLIT.train`` with augmentation; otherwise ``DATA_SPLIT.test`` without.
            root_path: Root of the data set; it precedes ``nusc_dataroot``.
            logger: Logger of warnings.
            seq_len: Key frames per clip; None: the configuration's.
            stride: Step between the frames of a clip, in key frames; None: the configuration's.
            nusc_version: Folder of the tables; None: the configuration's.
            nusc_dataroot: Root of the data set; None: the configuration's.
            mask_grid: Grid of the masks; None: that of the pillars, which the memory pools to its own.
            cache: Index file, where the data set's folder isn't writable.

        Raises:
            ConfigError: A dictionary that isn't a valid DATA_CONFIG, naming the key.
            DataError: If the data set is broken, or no scene of the split is long enough for a clip.
        """
        self.cfg = dataset_cfg = as_section(dataset_cfg, DataConfig, "dataset_cfg")
        self.class_names = tuple(class_names)
        self.training = training
        self.seq_len = dataset_cfg.SEQ_LEN if seq_len is None else seq_len
        self.stride = dataset_cfg.STRIDE if stride is None else stride
        self.mask_grid = dataset_cfg.pillar_grid if mask_grid is None else mask_grid
        self.logger = logging.getLogger(__name__) if logger is None else logger
        root = root_path or nusc_dataroot or dataset_cfg.DATA_PATH
        self.index = NuScenesIndex.open(root, nusc_version or dataset_cfg.VERSION, cache=cache)
        self.clips = self._find_clips()
        if dataset_cfg.ALIGNMENT == "explicit":
            self._cap_length()
        self.paster = self._open_paster() if training else None
        self._has_class = self._find_classes() if training and dataset_cfg.BALANCED_RESAMPLING else None

    def _find_clips(self) -> list[range]:
        """Return the frame numbers of every clip."""
        if self.seq_len < 1 or self.stride < 1:
            raise DataError(f"seq_len ({self.seq_len}) and stride ({self.stride}) have to be at least 1")
        split = self.cfg.DATA_SPLIT.train if self.training else self.cfg.DATA_SPLIT.test
        span = (self.seq_len - 1) * self.stride + 1
        scenes = {scene: self.index.scene_frames(scene) for scene in self.index.split_scenes(split)}
        short = [self.index.scene_name(scene) for scene, frames in scenes.items() if len(frames) < span]
        needed = f"a clip of {self.seq_len} key frames, {self.stride} apart, needs {span} key frames in a scene"
        if len(short) == len(scenes):
            longest = max((len(frames) for frames in scenes.values()), default=0)
            raise DataError(f"{needed}; the longest of the {len(scenes)} in split {split!r} has {longest}")
        if short:
            self.logger.warning("%s; skipped shorter scenes: %s", needed, ", ".join(short))
        starts = (start for frames in scenes.values() for start in frames[: len(frames) - span + 1])
        return [range(start, start + span, self.stride) for start in starts]

    def _cap_length(self) -> None:
        """Cap the length of explicitly aligned clips, so that the centre of each frame's range stays in the last's."""
        asked, centres = self.seq_len, self._range_centres()
        farthest = int((centres[:, 0] - centres[:, -1]).norm(dim=1).argmax())
        lost = self._share_lost(self.clips[farthest])
        while not (inside := centred_within(centres, self.cfg.POINT_CLOUD_RANGE)).all():
            self.seq_len = int(inside.flip(1).cumprod(dim=1).sum(dim=1).min())
            self.clips, centres = self._find_clips(), self._range_centres()
        if lost > _MUCH_LOST or self.seq_len < asked:
            self.logger.warning(
                "ALIGNMENT: explicit moves up to %.0f %% of a frame's points out of range in clips of %d key frames%s",
                100 * lost,
                asked,
                f"; their length is capped at {self.seq_len}" if self.seq_len < asked else "",
            )

    def _range_centres(self) -> Tensor:
        """Return the centre [C, T, 3] of the range of each clip's frames, in the coordinates of its last frame."""
        low, high = torch.tensor(self.cfg.POINT_CLOUD_RANGE, dtype=torch.float64).view(2, 3)
        poses = self.index.global_from_lidar(torch.tensor([list(clip) for clip in self.clips]))
        return transform_points(relative_pose(poses[:, -1:], poses), (low + high)[None] / 2)[:, :, 0]

    def _share_lost(self, clip: range) -> float:
        """Return the share of the points of a clip's first key frame that aren't in the range of its last."""
        own, aligned = (
            sum(map(len, self.index.load_clouds(clip[0], 0, pose, within=self.cfg.POINT_CLOUD_RANGE)))
            for pose in self.index.global_from_lidar(torch.tensor([clip[0], clip[-1]]))
        )
        return 1 - aligned / max(own, 1)

    def _open_paster(self) -> TrackPaster | None:
        sampling = self.cfg.DATA_AUGMENTOR.GT_SAMPLING
        if sampling is None:
            return None
        database = TrackDatabase.open(self.index, self.cfg.DATA_SPLIT.train, self.cfg.NUM_SWEEPS)
        return TrackPaster(
            database, self.index, sampling, self.class_names, self.seq_len, self.stride, self.cfg.POINT_CLOUD_RANGE
        )

    def _find_classes(self) -> Tensor:
        """Return True where a frame of clip c has class k [C, K]."""
        presence = self.index.class_presence(self.class_names, self.cfg.POINT_CLOUD_RANGE)
        has_class = presence[torch.tensor([list(clip) for clip in self.clips])].any(dim=1)
        occurs = has_class.any(dim=0).tolist()
        missing = [name for name, is_there in zip(self.class_names, occurs, strict=True) if not is_there]
        if missing:
            self.logger.warning("no training clip contains %s; balancing the other classes", ", ".join(missing))
        return has_class

    def __len__(self) -> int:
        return len(self.clips)

    def draw_epoch(self) -> list[int]:
        """Draw the clips of an epoch in random order, from torch's default generator.

        Each clip occurs once; with ``BALANCED_RESAMPLING`` clips are drawn equally often for each class.
        """
        items = torch.arange(len(self)) if self._has_class is None else balanced_resampling(self._has_class)
        return items[torch.randperm(len(items))].tolist()

    def __getitem__(self, item: int | Draw) -> Clip:
        """Load a clip; training augments it at random, by the seed of a ``Draw`` or torch's default generator."""
        if isinstance(item, Draw):
            with seeded(item.seed):
                return self[item.clip]
        numbers = self.clips[item]
        frames = [self.index.load_annotations(number, self.class_names) for number in numbers]
        if self.paster is not None:
            frames = self.paster.paste(frames)
        similarity, sensor = self._draw_augmentation()
        if sensor is not None:
            frames = sensor.scan_pasted(frames)
        if self.cfg.ALIGNMENT == "explicit":
            frames = align_to_last(frames)
        last_from_frame, prev_from_frame = relative_poses(frames)
        if similarity is not None:
            frames = [frame.moved(similarity) for frame in frames]
            last_from_frame = conjugate_poses(similarity, last_from_frame)
            prev_from_frame = conjugate_poses(similarity, prev_from_frame)
        sensors = [None] * len(frames) if sensor is None else sensor.sensors
        clouds = [self._load_clouds(*frame) for frame in zip(numbers, frames, sensors, strict=True)]
        frames = [frame.cropped(self.cfg.POINT_CLOUD_RANGE) for frame in frames]
        if sensor is not None:
            frames = [recounted(frame, own) for frame, (own, *_) in zip(frames, clouds, strict=True)]
        unseen = self._seconds_unseen(numbers[0], frames, sensors[0])
        points, num_points = pad_clouds([[*c, frame.points] for c, frame in zip(clouds, frames, strict=True)])
        shuffle = self.cfg.DATA_PROCESSOR.SHUFFLE_POINTS
        if shuffle.train if self.training else shuffle.test:
            for cloud, count in zip(points, num_points.tolist(), strict=True):
                cloud[:count] = shuffle_points(cloud[:count], fixed=not self.training)
        return {
            "points": points,
            "num_points": num_points,
            **_stack(frames),
            "gt_seconds_unseen": pad_stack("gt_seconds_unseen", unseen),
            "last_from_frame": last_from_frame.float(),
            "prev_from_frame": prev_from_frame.float(),
            **self._masks(frames, unseen),
        }

    def _draw_augmentation(self) -> tuple[Tensor | None, ClipSensor | None]:
        """Draw the similarity [4, 4] of a clip, None without augmentation, and its sensor, None for its own."""
        if not self.training:
            return None, None
        similarity = draw_similarity(self.cfg.DATA_AUGMENTOR)
        settings = self.cfg.DATA_AUGMENTOR.SENSOR_AUGMENTATION
        sensor = None if settings is None else draw_clip_sensor(settings, self.seq_len)
        return similarity if sensor is None else similarity @ sensor.mount, sensor

    def _load_clouds(self, number: int, frame: Frame, sensor: Sensor | None) -> list[Tensor]:
        """Load a frame's cropped points in its present coordinates, without those inside pasted boxes."""
        return self.index.load_clouds(
            number,
            self.cfg.NUM_SWEEPS,
            frame.global_from_lidar,
            within=self.cfg.POINT_CLOUD_RANGE,
            clear=None if self.paster is None else self.paster.clearance(frame),
            scan=None if sensor is None else sensor.scan,
        )

    def _seconds_unseen(self, first: int, frames: Sequence[Frame], sensor: Sensor | None) -> list[Tensor]:
        """Return the seconds [M] of each frame since its objects were last seen in the clip's history.

        The history starts with the sweeps of the clip's first key frame ``first``, which reach back before it.
        """
        reach = (self.cfg.NUM_SWEEPS + 1.5) * SWEEP_SECONDS
        earlier = [self._load_earlier(number, sensor) for number in self.index.frames_before(first, reach)]
        return seconds_unseen([*earlier, *frames], self.cfg.MIN_POINTS_SEEN)[len(earlier) :]

    def _load_earlier(self, number: int, sensor: Sensor | None) -> Frame:
        """Load the annotations of a key frame before a clip, as seen by the clip's sensor."""
        frame = self.index.load_annotations(number, self.class_names)
        if sensor is None:
            return frame
        (cloud,) = self.index.load_clouds(number, 0, frame.global_from_lidar, scan=sensor.scan)
        return recounted(frame, cloud)

    def _masks(self, frames: Sequence[Frame], unseen: Sequence[Tensor]) -> dict[str, Tensor]:
        """Rasterise the objects, with ``MASK_OBJECTS: seen`` those that were seen by then."""
        if self.cfg.MASK_OBJECTS == "seen":
            frames = [frame.select_objects(seconds.isfinite()) for frame, seconds in zip(frames, unseen, strict=True)]
        boxes = [frame.boxes for frame in frames]
        masks = {"scene_masks": scene_masks(boxes, self.mask_grid)}
        if self.cfg.AGENT_SLOTS > 1:
            tracks = [frame.track_ids for frame in frames]
            masks["agent_masks"], masks["valids_mask"] = agent_masks(
                boxes, tracks, self.mask_grid, self.cfg.AGENT_SLOTS
            )
        return masks


def align_to_last(frames: Sequence[Frame]) -> list[Frame]:
    """Move all frames into the coordinates of the last one (explicit alignment)."""
    last = frames[-1].global_from_lidar
    return [frame.moved(relative_pose(last, frame.global_from_lidar)) for frame in frames]


def relative_poses(frames: Sequence[Frame]) -> tuple[Tensor, Tensor]:
    """Return ``last_from_frame`` and ``prev_from_frame`` [T, 4, 4] float64; the first frame is its own previous one."""
    global_from_frame = torch.stack([frame.global_from_lidar for frame in frames])
    global_from_prev = torch.cat((global_from_frame[:1], global_from_frame[:-1]))
    return relative_pose(global_from_frame[-1:], global_from_frame), relative_pose(global_from_prev, global_from_frame)


def _stack(frames: Sequence[Frame]) -> Clip:
    """Stack the frames' own values to [T, ...]."""
    return {
        "gt_boxes": pad_stack("gt_boxes", [frame.boxes for frame in frames]),
        "gt_labels": pad_stack("gt_labels", [frame.labels for frame in frames]),
        "gt_track_ids": pad_stack("gt_track_ids", [frame.track_ids for frame in frames]),
        "gt_num_points": pad_stack("gt_num_points", [frame.num_points for frame in frames]),
        "gt_visibility": pad_stack("gt_visibility", [frame.visibility for frame in frames]),
        "timestamp": torch.tensor([frame.timestamp for frame in frames], dtype=torch.float64),
        "scene_token": np.array([frame.scene_token for frame in frames]),
        "sample_token": np.array([frame.sample_token for frame in frames]),
    }
