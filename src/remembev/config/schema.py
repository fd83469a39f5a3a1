"""Schema of the configuration: one class per section, with OpenPCDet's key names where it has the concept.

Unknown keys are errors. Keys that have to fit together (classes and heads, range and voxels) are checked here, so that
the model and the data set need not. The docstrings below the keys are the generated reference. Nothing here imports
torch before a grid is asked for, so that the command line starts fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import isclose
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from remembev.config.classes import ClassName
from remembev.config.sizes import (
    CountOrMetres,
    CountOrSeconds,
    CountOrSquareMetres,
    Metres,
    MetresPerSecond,
    RadiansPerSecond,
    Seconds,
)
from remembev.config.validation import set_key, validated

if TYPE_CHECKING:
    from torch import Tensor

    from remembev.geometry import BEVGrid

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Interval = tuple[float, float]
HeadingCode = Literal["sincos", "residual", "double_angle"]


def _in_order(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError("a range has to begin with its lower end")
    return interval


_IN_ORDER = AfterValidator(_in_order)


class Section(BaseModel):
    """A section of the configuration: immutable, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# ---------------------------------------------------------------------------------------------------------------- data


class SplitConfig(Section):
    """Splits of the data set: official ones, or those of ``splits.json`` in the version's folder."""

    train: str = "train"
    """Split for training."""
    test: str = "val"
    """Split for validation and evaluation."""


class GTSamplingConfig(Section):
    """Ground-truth sampling (SECOND §3.4) of whole tracks: paste objects of the training split into a clip."""

    SAMPLE_GROUPS: dict[ClassName, Count]
    """Objects to paste per class, such as ``{car: 2, bus: 4}``; fewer if there is no room."""
    MIN_POINTS: dict[ClassName, Count] = {}
    """Points, sweeps included, that an object needs in some frame to be pasted, per class; 1 for classes left out
    (OpenPCDet's ``filter_by_min_points``)."""
    LIMIT_WHOLE_SCENE: bool = True
    """Count the clip's own objects too: paste only what they lack of ``SAMPLE_GROUPS``."""
    REMOVE_EXTRA_WIDTH: tuple[NonNegative, NonNegative, NonNegative] = (0.0, 0.0, 0.0)
    """Metres added to l, w, h of a pasted box when the clip's points inside it are removed."""


class CorruptionConfig(Section):
    """Corruption of some frames within a clip, so that a memory learns not to build on its own mistakes.

    Only clouds are corrupted, each frame in the same way: another sensor, a blocked sector, clutter or range noise,
    equally often. Boxes and poses stay true.
    """

    PROBABILITY: Share = 0.3
    """Probability that a clip of another sensor has corrupted frames."""
    FRAMES: Annotated[tuple[Count, Count], _IN_ORDER] = (1, 2)
    """Range of the number of corrupted frames in a row, from a drawn frame on."""
    BLOCKED: Annotated[tuple[Share, Share], _IN_ORDER] = (0.3, 0.6)
    """Range of the share of the azimuths in a blocked sector, without points."""
    CLUTTER: Annotated[tuple[Share, Share], _IN_ORDER] = (0.05, 0.3)
    """Range of the share of points that become clutter, at a random point of their ray, as in rain or dust."""
    RANGE_NOISE: Annotated[tuple[NonNegative, NonNegative], _IN_ORDER] = (0.05, 0.5)
    """Range of the standard deviation of range noise in metres."""


class SensorAugmentationConfig(Section):
    """Augmentation for another sensor: one LiDAR per clip, drawn anew, for all its frames and sweeps.

    Ranges are drawn from uniformly unless they say otherwise. Points that boxes lose are subtracted from their counts.
    """

    PROBABILITY: Share = 0.5
    """Probability that a clip is seen by another sensor."""
    INTENSITY_SCALE: Annotated[tuple[Positive, Positive], _IN_ORDER] = (0.3, 3.0)
    """Range of the factor of the intensities, log-uniform; they are clipped at 255."""
    INTENSITY_GAMMA: Annotated[tuple[Positive, Positive], _IN_ORDER] = (0.5, 2.0)
    """Range of γ, log-uniform, in 255 · (intensity / 255)^γ."""
    CONSTANT_INTENSITY: Share = 0.1
    """Probability that all points have one intensity: 0 in half of the cases, else a drawn one."""
    BEAMS: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 1, 2, 4)
    """Steps between the beams that are kept, one of which is drawn: 2 keeps every other one."""
    AZIMUTHS: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 1, 2)
    """Steps between the azimuth columns that are kept, one of which is drawn; a column is ⅓° wide."""
    FALLOFF: Annotated[tuple[NonNegative, NonNegative], _IN_ORDER] = (0.0, 0.03)
    """Range of k in 1/m: a point at a distance of d metres is kept with probability exp(−k · max(d − 10, 0))."""
    SELF_RETURNS: Annotated[tuple[Share, Share], _IN_ORDER] = (0.0, 0.3)
    """Range of the share of rows to add within a metre of the sensor, as nuScenes has for pulses without an echo."""
    HEIGHT: Annotated[Interval, _IN_ORDER] = (-0.4, 0.4)
    """Range of the shift along z in metres."""
    TILT: Annotated[Interval, _IN_ORDER] = (-0.02, 0.02)
    """Range of the rotations about x and y (pitch and roll) in radians. Boxes stay upright."""
    TRANSLATION: Annotated[Interval, _IN_ORDER] = (-1.0, 1.0)
    """Range of the shifts along x and y in metres."""
    CORRUPTION: CorruptionConfig | None = CorruptionConfig()
    """Corruption of some frames; ``null``: none."""


class AugmentorConfig(Section):
    """Augmentation of training clips, the same for all frames of a clip except a corruption."""

    GT_SAMPLING: GTSamplingConfig | None = None
    """Ground-truth sampling, before all other augmentation; ``null``: none."""
    FLIP: tuple[Literal["x", "y"], ...] = ()
    """Axes to flip along, each with probability ½: ``x`` maps y to −y, ``y`` maps x to −x (as in OpenPCDet)."""
    ROTATION: Interval = (0.0, 0.0)
    """Range of the rotation about the vertical axis in radians, drawn uniformly."""
    SCALING: Interval = (1.0, 1.0)
    """Range of the scale factor, drawn uniformly."""
    SENSOR_AUGMENTATION: SensorAugmentationConfig | None = None
    """Augmentation for another sensor; ``null``: none."""


class ShuffleConfig(Section):
    """Shuffling of the points, so that a full pillar of ``PillarVFE`` keeps random ones."""

    train: bool = False
    """Shuffle in training, differently each time."""
    test: bool = False
    """Shuffle in validation, evaluation and streaming, always in the same order."""


class ProcessorConfig(Section):
    """Voxelisation."""

    VOXEL_SIZE: tuple[Positive, Positive, Positive]
    """Size of a pillar in x, y, z in metres. x and y divide ``POINT_CLOUD_RANGE``, z is its height."""
    MAX_POINTS_PER_VOXEL: Count = 20
    """Points kept per pillar. ``DynPillarVFE`` keeps all."""
    MAX_NUMBER_OF_VOXELS: Count = 30000
    """Pillars kept per frame. ``DynPillarVFE`` keeps all."""
    SHUFFLE_POINTS: ShuffleConfig = ShuffleConfig()


class DataConfig(Section):
    """The data set, its clips and their preprocessing."""

    DATASET: Literal["NuScenesSeqDataset"] = "NuScenesSeqDataset"
    """Data set class."""
    DATA_PATH: str = "data/nuscenes"
    """Root of the data set, which holds the folder ``VERSION``; ``--data`` replaces it."""
    VERSION: str = "v1.0-trainval"
    """Folder of the tables, such as ``v1.0-trainval`` or ``v1.0-mini``."""
    DATA_SPLIT: SplitConfig = SplitConfig()
    POINT_CLOUD_RANGE: tuple[float, float, float, float, float, float]
    """Crop in the LiDAR frame in metres: x_min, y_min, z_min, x_max, y_max, z_max."""
    SEQ_LEN: Count = 4
    """Key frames per clip; with ``ALIGNMENT: explicit`` at most as many as stay in the range of the last."""
    STRIDE: Count = 1
    """Step between frames of a clip, in key frames: 2 takes every other one."""
    NUM_SWEEPS: Annotated[int, Field(ge=0)] = 0
    """Earlier sweeps stacked onto each key frame. OpenPCDet's MAX_SWEEPS also counts the key frame: 10 is 9 here."""
    ALIGNMENT: Literal["implicit", "explicit"] = "implicit"
    """``explicit``: the loader moves all frames of a clip into its last, and crops them to the range there.
    ``implicit``: the model moves its memory; clips and streams of any length."""
    AGENT_SLOTS: Count = 1
    """Object slots of the memory. The first holds the scene, each other one a single object; 1: no agent masks."""
    MASK_OBJECTS: Literal["all", "seen"] = "all"
    """Objects in the masks. ``all``: scene_masks is the union of the boxes. ``seen``: only of those that the clip has
    shown so far, since a memory can't know of others; the shipped configurations use it."""
    MIN_POINTS_SEEN: Count = 1
    """LiDAR points with which a frame shows an object, for MASK_OBJECTS and SEEN_WITHIN."""
    BALANCED_RESAMPLING: bool = False
    """Resample clips every epoch so that each class gets the same share (CBGS: Zhu et al., 2019, §3.1)."""
    DATA_AUGMENTOR: AugmentorConfig = AugmentorConfig()
    DATA_PROCESSOR: ProcessorConfig

    @model_validator(mode="after")
    def _range_divides_into_voxels(self) -> DataConfig:
        low, high = self.POINT_CLOUD_RANGE[:3], self.POINT_CLOUD_RANGE[3:]
        for axis, start, stop, size in zip("xyz", low, high, self.DATA_PROCESSOR.VOXEL_SIZE, strict=True):
            cells = (stop - start) / size
            if cells < 1 or not isclose(cells, round(cells), rel_tol=1e-6):
                raise ValueError(
                    f"POINT_CLOUD_RANGE spans {stop - start:g} m along {axis}, which is {cells:g} voxels of "
                    f"{size:g} m: it has to be a whole number"
                )
        if not isclose(high[2] - low[2], self.DATA_PROCESSOR.VOXEL_SIZE[2]):
            raise ValueError("VOXEL_SIZE's z has to equal the height of POINT_CLOUD_RANGE, which a pillar spans")
        return self

    @property
    def pillar_grid(self) -> BEVGrid:
        """The grid of pillars."""
        from remembev.geometry import BEVGrid

        x_min, y_min, _, x_max, y_max, _ = self.POINT_CLOUD_RANGE
        size_x, size_y, _ = self.DATA_PROCESSOR.VOXEL_SIZE
        return BEVGrid(x_min, y_min, x_max, y_max, round((y_max - y_min) / size_y), round((x_max - x_min) / size_x))


# --------------------------------------------------------------------------------------------------------------- model


class VFEConfig(Section):
    """Pillar feature encoder: ``PillarVFE`` on hard voxels, ``DynPillarVFE`` on all points of every pillar."""

    NAME: Literal["PillarVFE", "DynPillarVFE"] = "PillarVFE"
    """Encoder class."""
    WITH_DISTANCE: bool = False
    """Add a point's distance from the sensor to its features."""
    USE_ABSLOTE_XYZ: bool = True
    """Keep x, y, z among a point's features, beside the offsets from its pillar (OpenPCDet's spelling)."""
    HEIGHTS: tuple[float, ...] = ()
    """Rising heights in m: features of a point, each 1 at its height and falling linearly to 0 at the next ones.

    One layer and a maximum see only the outermost points of a pillar; these features let it see a person between the
    ground and the crown of a tree.
    """
    NUM_FILTERS: tuple[Count, ...] = (64,)
    """Output channels of each layer; the last is the number of pillar features."""

    @model_validator(mode="after")
    def _check_heights(self) -> VFEConfig:
        if len(self.HEIGHTS) == 1 or any(low >= high for low, high in pairwise(self.HEIGHTS)):
            raise ValueError(f"HEIGHTS {list(self.HEIGHTS)}: need two or more heights, rising, or none")
        return self


def _no_backbone_3d(value: object) -> object:
    if value is not None:
        name = value.get("NAME", "a section") if isinstance(value, dict) else value
        raise ValueError(f"{name} is not supported: pillars are scattered without a 3D backbone, which is null")
    return value


NoBackbone3D = Annotated[None, BeforeValidator(_no_backbone_3d)]
"""The slot of a 3D backbone, which nothing fills yet."""


class BackboneConfig(Section):
    """2D BEV backbone: strided blocks, upsampled to one resolution and concatenated. Lists have an entry per block."""

    NAME: Literal["BaseBEVBackbone"] = "BaseBEVBackbone"
    """Backbone class."""
    LAYER_NUMS: tuple[int, ...]
    """3 × 3 convolutions after the strided one."""
    LAYER_STRIDES: tuple[Count, ...]
    """Stride of the first convolution."""
    NUM_FILTERS: tuple[Count, ...]
    """Channels."""
    UPSAMPLE_STRIDES: tuple[Positive, ...]
    """Upsampling factor of the output; below 1 it is downsampled. All outputs need the same resolution."""
    NUM_UPSAMPLE_FILTERS: tuple[Count, ...]
    """Channels of the upsampled output; C_bev is their sum."""

    @model_validator(mode="after")
    def _blocks_agree(self) -> BackboneConfig:
        lists = (
            self.LAYER_NUMS,
            self.LAYER_STRIDES,
            self.NUM_FILTERS,
            self.UPSAMPLE_STRIDES,
            self.NUM_UPSAMPLE_FILTERS,
        )
        if len({len(values) for values in lists}) != 1:
            raise ValueError("LAYER_*, NUM_* and UPSAMPLE_STRIDES of BACKBONE_2D need one entry per block")
        strides = {self._map_stride(block) for block in range(len(self.LAYER_NUMS))}
        if len(strides) != 1:
            raise ValueError(f"the blocks of BACKBONE_2D are upsampled to different strides {sorted(strides)}")
        return self

    def _map_stride(self, block: int) -> float:
        stride = 1.0
        for layer_stride in self.LAYER_STRIDES[: block + 1]:
            stride *= layer_stride
        return round(stride / self.UPSAMPLE_STRIDES[block], 6)

    @property
    def stride(self) -> int:
        """Stride of spatial_features_2d in pillars."""
        return round(self._map_stride(0))

    @property
    def num_bev_features(self) -> int:
        """Channels of spatial_features_2d."""
        return sum(self.NUM_UPSAMPLE_FILTERS)


class OccupancyLossConfig(Section):
    """Occupancy loss: bootstrapped cross entropy plus dice against scene_masks."""

    WEIGHT: NonNegative = 1.0
    """Weight of the occupancy loss in the total."""
    POSITIVE_WEIGHT: Positive = 1.0
    """Weight of occupied cells in the cross entropy; above 1 an uncertain gate stays open."""
    DILATE: Annotated[int, Field(ge=0)] = 0
    """Cells by which the masks are dilated, since the head also uses the cells around an object."""
    DICE: NonNegative = 1.0
    """Weight of dice relative to the cross entropy."""
    BOOTSTRAP_TOP: Share = 0.15
    """Share of the cells, the hardest, that count in the cross entropy after the warm-up."""
    BOOTSTRAP_WARMUP: Interval = (0.2, 0.7)
    """Training progress (0 to 1) over which the share falls linearly from all cells to BOOTSTRAP_TOP."""


class ForcingConfig(Section):
    """Teacher forcing: share of the training frames that are written with true masks instead of predicted ones."""

    START: Share = 0.5
    """Share at the start of training."""
    END: Share = 0.5
    """Share at the end of training."""
    DURING: Interval = (0.0, 1.0)
    """Training progress (0 to 1) over which the share goes linearly from START to END."""


class WorkingMemoryConfig(Section):
    """Working memory: all tokens of recent memory frames. Sizes in seconds need MEM_EVERY in seconds."""

    MIN_FRAMES: CountOrSeconds = 2
    """Memory frames kept by a consolidation (XMem's T_min), or their time span."""
    MAX_FRAMES: CountOrSeconds = 5
    """Memory frames at which a consolidation happens (XMem's T_max), or their time span; reads see at most one less."""


class LongTermMemoryConfig(Section):
    """Long-term memory: prototypes of frames that left the working memory."""

    MAX_TOKENS: Annotated[int, Field(ge=0)] = 1024
    """Capacity in tokens; the least used go first. 0: no long-term memory, the oldest frame is dropped."""
    PROTOTYPES: Count = 128
    """Prototypes that a consolidation creates (XMem's P)."""
    CHOOSE: Literal["usage", "random"] = "usage"
    """Choice of prototypes: by usage per read, or at random."""


class ForegroundConfig(Section):
    """Foreground-first writing: keep the most important cells of a memory frame."""

    TOKENS: CountOrSquareMetres | None = None
    """Cells written per memory frame, as a number or an area (``900 m2``); ``null``: all."""
    BY: Literal["mask", "occupancy"] = "mask"
    """Importance of a cell: the mask that is written with it, or the predicted occupancy."""
    MIN: Share = 0.0
    """Cells of lower importance are never written."""


class ReadConfig(Section):
    """Terms added to XMem's similarity between a query and a token."""

    DISTANCE: Metres | None = None
    """Initial σ of a learned Gaussian penalty on distance: −½ (d / σ)². ``null``: no penalty."""
    AGE: Seconds | None = None
    """Initial τ of a learned penalty on age: −age / τ. ``null``: no penalty."""
    NOTHING: bool = False
    """One more candidate of the softmax, nothing, with a learned similarity: a query that no token is similar to reads
    a learned value."""


class AgentsConfig(Section):
    """Assignment of detections to agent slots at inference; ``DATA_CONFIG.AGENT_SLOTS`` is their number."""

    MIN_SCORE: Share = 0.3
    """Least score of a box that takes a free slot."""
    MATCH_WITHIN: Metres = Metres(2)
    """Greatest distance between the centres of a detection and of a slot's box, moved on by its velocity."""
    MAX_MISSED: Annotated[int, Field(ge=0)] = 3
    """Frames in a row without a match after which a slot is freed."""


class MotionConfig(Section):
    """Assumed motion of the objects of a class; the defaults are a vehicle's."""

    STILL: bool = False
    """Objects stand where they were last detected; the keys below don't matter then."""
    SPEED: MetresPerSecond = MetresPerSecond(4)
    """Standard deviation of the unknown velocity of a new object, along each axis."""
    ACCELERATION: Positive = 1.0
    """Standard deviation of the acceleration in m/s², along each axis."""


class CoastingConfig(Section):
    """Objects from frame to frame: how sure their places are, and their scores where no frame shows them."""

    POSITION_NOISE: Metres = Metres(0.4)
    """Standard deviation of detected centres, along each axis."""
    COAST_SCORE: Share = 0.85
    """Factor of the highest score."""
    COAST_DECAY: Share = 0.95
    """Factor for each 0.5 s, nuScenes' time between key frames, since the object was last seen."""
    FREE_SPACE_SCORE: Share = 0.5
    """Factor where most LiDAR rays through the box end beyond it."""

    def coasted_score(self, best: Tensor, seconds: Tensor) -> Tensor:
        """Return the scores [...] of highest scores ``best`` [...], ``seconds`` [...] after the last sighting.

        Free space isn't looked at here.
        """
        return best * self.COAST_SCORE * self.COAST_DECAY ** (seconds / 0.5)


class ObjectsConfig(CoastingConfig):
    """Remembered objects: boxes that were found, moved on until they are found again or forgotten."""

    MAX_OBJECTS: Count = 128
    """Objects that are remembered; those of the lowest score go first."""
    MIN_SCORE: Share = 0.18
    """Score of a box from which it is remembered, or shows an object that has a better score where it was expected."""
    FORGET_AFTER: Seconds = Seconds(4.0)
    """Time after which an object that no frame shows is forgotten."""
    SAME_ABOVE: Share = 0.1
    """BEV IoU above which a box of a frame replaces a remembered one of its class."""
    MIN_SIDE: Metres = Metres(1.0)
    """Length and width that boxes have at least when they are compared."""
    SAME_WITHIN: Metres = Metres(2.0)
    """Distance of centres within which a remembered object is still there, for the loss."""
    MOTION: MotionConfig = MotionConfig()
    """Motion of the classes that ``CLASS_MOTION`` leaves out."""
    CLASS_MOTION: dict[ClassName, MotionConfig] = {
        "pedestrian": MotionConfig(SPEED=MetresPerSecond(1), ACCELERATION=0.3),
        "traffic_cone": MotionConfig(STILL=True),
        "barrier": MotionConfig(STILL=True),
    }
    """Motion by class."""
    LOSS_WEIGHT: NonNegative = 0.5
    """Weight of the focal loss of the presence."""


class MemoryConfig(Section):
    """The memory in BEV: XMem's (Cheng & Schwing, ECCV 2022), or a ConvGRU for comparison.

    ``ConvGRUBEVModule`` only reads STRIDE, FEATURE_DIM, HIDDEN_DIM, MAX_SCENES and FUSION.
    """

    NAME: Literal["XMemBEVModule", "ConvGRUBEVModule"] = "XMemBEVModule"
    """Memory class."""
    FUSION: Literal["gate", "gate_and_read", "gate_residual", "gate_residual_and_read", "none"] = "gate"
    """``gate``: multiply the features by the occupancy. ``gate_residual``: add a projection of that product to the
    features instead. ``…_and_read``: also add the readout. ``none``: no memory, single frames. A ConvGRU always adds
    its hidden state, unless ``none``."""
    STRIDE: CountOrMetres = 2
    """Cell size of the memory, in cells of spatial_features_2d or in metres (``1.6 m``): H_m = H / STRIDE."""
    FEATURE_DIM: Count = 128
    """Channels of the memory's input features."""
    KEY_DIM: Count = 64
    """Channels of keys, C_k."""
    VALUE_DIM: Count = 128
    """Channels of values, C_v."""
    HIDDEN_DIM: Count = 64
    """Channels of the sensory memory, C_h."""
    TOP_K: Count = 30
    """Most similar tokens that a query reads."""
    MEM_EVERY: CountOrSeconds = 1
    """Interval between memory frames, which are written to the working memory: in frames or seconds (``1 s``)."""
    DEEP_UPDATE_EVERY: CountOrSeconds | None = None
    """Interval between deep updates of the sensory memory, in frames or seconds; ``null``: at memory frames."""
    WORKING: WorkingMemoryConfig = WorkingMemoryConfig()
    LONG_TERM: LongTermMemoryConfig = LongTermMemoryConfig()
    FOREGROUND: ForegroundConfig = ForegroundConfig()
    READ: ReadConfig = ReadConfig()
    SENSORY: Literal["recurrent", "difference"] = "recurrent"
    """Sensory memory. ``recurrent``: XMem's gated units, read as they are. ``difference``: an average of what frames
    show, of which only the difference from the present frame is read, so that a frame that repeats itself adds nothing;
    without deep updates."""
    WRITE: Literal["occupancy", "findings"] = "occupancy"
    """Content of the values that are written, beside a frame's features. ``occupancy``: XMem's masks. ``findings``:
    also class scores and box parameters of what the head found; tokens move by its velocities."""
    OBJECTS: ObjectsConfig | None = None
    """Remembered objects; ``null``: none. With ``ALIGNMENT: explicit`` without what rays pass through, since a clip
    doesn't tell then where the sensor was."""
    FORGET_BEYOND: Metres | None = None
    """Distance from the sensor beyond which tokens are forgotten; ``null``: never."""
    FORGET_AFTER: Seconds | None = None
    """Age after which tokens are forgotten; ``null``: never."""
    MAX_SCENES: Count = 8
    """Scenes whose memory is kept; the least recently used goes first."""
    AGENTS: AgentsConfig = AgentsConfig()
    TEACHER_FORCING: ForcingConfig = ForcingConfig()
    GATE_BIAS: float = 3.0
    """Initial occupancy logit. Above 0 the untrained gate is open, so that it doesn't suppress recall."""
    GATE_RAMP: Annotated[tuple[Share, Share], _IN_ORDER] = (0.0, 0.5)
    """Training progress (0 to 1) over which a gate g that multiplies is brought in: the features are multiplied by
    1 − α (1 − g), and α goes linearly from 0 to 1. At inference α is 1."""
    OCC_LOSS: OccupancyLossConfig = OccupancyLossConfig()

    @model_validator(mode="after")
    def _frames_in_order(self) -> MemoryConfig:
        for name in ("MIN_FRAMES", "MAX_FRAMES"):
            if isinstance(getattr(self.WORKING, name), Seconds) and not isinstance(self.MEM_EVERY, Seconds):
                raise ValueError(f"WORKING.{name} in seconds needs MEM_EVERY in seconds too")
        if not 1 <= self.min_frames < self.max_frames:
            raise ValueError(
                f"WORKING keeps {self.min_frames} to {self.max_frames} memory frames; "
                "expected 1 ≤ MIN_FRAMES < MAX_FRAMES"
            )
        if 0 < self.LONG_TERM.MAX_TOKENS < self.LONG_TERM.PROTOTYPES:
            raise ValueError(
                f"LONG_TERM has room for {self.LONG_TERM.MAX_TOKENS} tokens, fewer than the "
                f"{self.LONG_TERM.PROTOTYPES} PROTOTYPES of one consolidation"
            )
        return self

    @property
    def min_frames(self) -> int:
        """T_min in memory frames."""
        return self._memory_frames(self.WORKING.MIN_FRAMES)

    @property
    def max_frames(self) -> int:
        """T_max in memory frames."""
        return self._memory_frames(self.WORKING.MAX_FRAMES)

    def stride(self, feature_grid: BEVGrid) -> int:
        """Return the stride of the memory in cells of spatial_features_2d.

        Raises:
            ValueError: If it isn't an integer.
        """
        if isinstance(self.STRIDE, int):
            return self.STRIDE
        if not isclose(feature_grid.cell_x, feature_grid.cell_y, rel_tol=1e-6):
            raise ValueError(
                f"STRIDE in metres needs square cells, not {feature_grid.cell_x:g} × {feature_grid.cell_y:g} m"
            )
        cells = self.STRIDE / feature_grid.cell_x
        if round(cells) < 1 or not isclose(cells, round(cells), rel_tol=1e-6):
            raise ValueError(f"{self.STRIDE} are {cells:g} cells of {feature_grid.cell_x:g} m, not a whole number")
        return round(cells)

    def tokens_per_frame(self, memory_grid: BEVGrid) -> int:
        """Return the capacity of a memory frame in tokens."""
        wanted, cells = self.FOREGROUND.TOKENS, memory_grid.height * memory_grid.width
        if wanted is None:
            return cells
        if not isinstance(wanted, int):
            wanted = max(1, round(wanted / (memory_grid.cell_x * memory_grid.cell_y)))
        return min(wanted, cells)

    def _memory_frames(self, size: int | Seconds) -> int:
        return size if isinstance(size, int) else max(1, round(size / self.MEM_EVERY))


class AnchorConfig(Section):
    """Anchors of one class, one per cell and combination of size, rotation and height."""

    class_name: ClassName
    """Class of CLASS_NAMES."""
    anchor_sizes: tuple[tuple[Positive, Positive, Positive], ...]
    """Sizes (l, w, h) in metres."""
    anchor_rotations: tuple[float, ...] = (0.0, 1.57)
    """Yaws in radians."""
    anchor_bottom_heights: tuple[float, ...]
    """z of the bottom faces in metres."""
    align_center: bool = False
    """Put anchors at the cells' centres; otherwise the outermost ones lie on the edges of the range (OpenPCDet)."""
    matched_threshold: Share
    """BEV IoU with a box from which an anchor is positive."""
    unmatched_threshold: Share
    """BEV IoU below which an anchor is background; between the two it is ignored."""


class HeadConfig(Section):
    """One head of ``AnchorHeadMulti``."""

    HEAD_CLS_NAME: Annotated[tuple[ClassName, ...], Field(min_length=1)]
    """Classes that share the head."""


class SeparateRegConfig(Section):
    """Branches of a head: one for the classes, one for each part of the box code."""

    NUM_MIDDLE_CONV: Annotated[int, Field(ge=0)] = 1
    """3 × 3 convolutions of a branch before its output."""
    NUM_MIDDLE_FILTER: Count = 64
    """Channels of those convolutions."""
    REG_LIST: tuple[str, ...] = ("reg:2", "height:1", "size:3", "angle:2", "velo:2")
    """Branches of the box code with their channels: this list, with ``angle:1`` if ``HEADING_CODE`` is ``residual``."""


class TargetAssignerConfig(Section):
    """Assignment of ground truth to anchors."""

    NAME: Literal["AxisAlignedTargetAssigner"] = "AxisAlignedTargetAssigner"
    """Assigner class."""
    MIN_CELLS: NonNegative = 0.0
    """Cells of the feature map that boxes and anchors count as, at least, in length and width where they are matched.

    Anchors a cell apart miss objects that are smaller than a cell: with 0, as in OpenPCDet, such an object has one
    anchor or none, and the one turned by 90 degrees in the same place is taught that nothing is there.
    """
    MIN_POINTS_IN_GT: Annotated[int, Field(ge=0)] = 1
    """LiDAR points that a box needs to be a target."""
    SEEN_WITHIN: Seconds | None = None
    """Boxes without those points are targets too if the object was seen (MIN_POINTS_SEEN) this recently, in an earlier
    frame of the clip or within the sweeps of its first; ``null``: never."""
    MIN_POINTS_KNOWN: Annotated[int, Field(ge=0)] = 0
    """LiDAR points that such a box needs now: 0 teaches what is hidden too, 1 only what is in sight."""
    UNSEEN_WEIGHT: Positive = 1.0
    """Loss weight of the boxes that are targets because of SEEN_WITHIN."""


class LossWeights(Section):
    """Weights of the head's losses."""

    pos_cls_weight: NonNegative = 1.0
    """Weight of positive anchors in the classification loss."""
    neg_cls_weight: NonNegative = 2.0
    """Weight of background anchors in the classification loss."""
    cls_weight: NonNegative = 1.0
    """Weight of the classification loss."""
    loc_weight: NonNegative = 0.25
    """Weight of the box loss."""
    dir_weight: NonNegative = 0.2
    """Weight of the direction loss."""
    code_weights: tuple[NonNegative, ...] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2)
    """Weights within the box loss: x, y, z, l, w, h, cosine, sine, vx, vy; one for both if the heading has one."""


class LossConfig(Section):
    """Losses of the head: sigmoid focal loss on classes, L1 on box codes."""

    REG_LOSS_TYPE: Literal["WeightedL1Loss"] = "WeightedL1Loss"
    """Box loss."""
    LOSS_WEIGHTS: LossWeights = LossWeights()


class DenseHeadConfig(Section):
    """Detection head: heads for groups of classes on a shared convolution, with anchors."""

    NAME: Literal["AnchorHeadMulti"] = "AnchorHeadMulti"
    """Head class."""
    SHARED_CONV_NUM_FILTER: Count = 64
    """Channels of the convolution that all heads share."""
    RPN_HEAD_CFGS: tuple[HeadConfig, ...]
    """The heads; each class is in exactly one."""
    SEPARATE_REG_CONFIG: SeparateRegConfig = SeparateRegConfig()
    HEADING_CODE: HeadingCode = "sincos"
    """Code of the heading in the box regression. ``sincos``: cosine and sine (OpenPCDet's ``encode_angle_by_sincos``).
    ``residual``: difference from the anchor's heading, with the sine of the error as the loss (OpenPCDet without that
    key). ``double_angle``: cosine and sine of twice the heading. The last two leave front and back to the direction
    classifier."""
    USE_DIRECTION_CLASSIFIER: bool = False
    """Classify headings into NUM_DIR_BINS sectors too."""
    DIR_OFFSET: float = 0.78539
    """Heading in radians at which the first sector starts."""
    DIR_LIMIT_OFFSET: float = 0.0
    """Shift of the range to which a heading is reduced, in sectors."""
    NUM_DIR_BINS: Annotated[int, Field(ge=2)] = 2
    """Sectors of the direction classifier."""
    ANCHOR_GENERATOR_CONFIG: tuple[AnchorConfig, ...]
    """Anchors, exactly one entry per class."""
    TARGET_ASSIGNER_CONFIG: TargetAssignerConfig = TargetAssignerConfig()
    LOSS_CONFIG: LossConfig = LossConfig()

    @model_validator(mode="after")
    def _parts_of_the_code_fit(self) -> DenseHeadConfig:
        angles = 1 if self.HEADING_CODE == "residual" else 2
        expected = ("reg:2", "height:1", "size:3", f"angle:{angles}", "velo:2")
        if self.SEPARATE_REG_CONFIG.REG_LIST != expected:
            raise ValueError(f"REG_LIST has to be {list(expected)}, the box code of HEADING_CODE {self.HEADING_CODE}")
        if len(self.LOSS_CONFIG.LOSS_WEIGHTS.code_weights) != 8 + angles:
            raise ValueError(f"code_weights needs {8 + angles} weights for HEADING_CODE {self.HEADING_CODE}")
        if self.HEADING_CODE != "sincos" and not self.USE_DIRECTION_CLASSIFIER:
            raise ValueError(f"HEADING_CODE {self.HEADING_CODE} needs USE_DIRECTION_CLASSIFIER")
        return self


class NMSConfig(Section):
    """Rotated non-maximum suppression, per class."""

    NMS_THRESH: Share = 0.2
    """BEV IoU above which the lower-scoring box is suppressed."""
    NMS_PRE_MAXSIZE: Count = 1000
    """Best boxes per class that enter NMS."""
    NMS_POST_MAXSIZE: Count = 83
    """Boxes per class that NMS keeps at most."""


class PostProcessingConfig(Section):
    """Selection of the boxes that are returned."""

    SCORE_THRESH: Share = 0.1
    """Least score of a box."""
    NMS_CONFIG: NMSConfig = NMSConfig()
    FACE_MOTION: MetresPerSecond | None = None
    """Least speed of a box that is turned around if it moves backwards; ``null``: none is."""


class ModelConfig(Section):
    """The model, in the order of the data flow from points to boxes."""

    NAME: Literal["TemporalPointPillar"] = "TemporalPointPillar"
    """Model class."""
    VFE: VFEConfig = VFEConfig()
    BACKBONE_3D: NoBackbone3D = None
    """3D backbone between VFE and scatter; ``null``, the only value: none, as pillars have."""
    BACKBONE_2D: BackboneConfig
    MEMORY: MemoryConfig = MemoryConfig()
    DENSE_HEAD: DenseHeadConfig
    POST_PROCESSING: PostProcessingConfig = PostProcessingConfig()


# ------------------------------------------------------------------------------------------------------------ training


class PretrainConfig(Section):
    """Pretraining of the detector without its memory, on single frames. Other keys are those of the training."""

    EPOCHS: Count
    """Epochs of pretraining."""
    LR: Positive
    """Peak learning rate of pretraining."""
    BATCH_SIZE_PER_GPU: Count | None = None
    """Frames per step and GPU; ``null``: as many as a training step has, ``SEQ_LEN × BATCH_SIZE_PER_GPU``."""
    BATCHES_PER_EPOCH: Count | None = None
    """Batches per epoch; ``null``: as in training."""
    GT_SAMPLING: GTSamplingConfig | None = None
    """Objects to paste into the frames of pretraining alone; ``null``: as in training."""
    NORM_EVAL: Share = 0.25
    """Share of the steps, the last ones, with frozen statistics, as in training. Frames normalised by their own
    statistics alone leave running ones that nothing was trained with."""


class OptimizationConfig(Section):
    """Training: AdamW with decoupled weight decay, one cycle of learning rate and momentum."""

    PRETRAIN: PretrainConfig | None = None
    """Pretraining that comes first, unless weights are given (``--init``); ``null``: none."""
    NORM_EVAL: Share = 0.0
    """Share of the steps, the last ones, in which the running statistics of batch normalisation are frozen and used, as
    in inference; ``true``: all, so that they are those of the initial weights. The frames of a clip are alike, so that
    their own statistics vary more than those of unrelated frames."""
    BATCH_SIZE_PER_GPU: Count = 1
    """Clips per step and GPU."""
    NUM_EPOCHS: Count = 20
    """Epochs of training."""
    BATCHES_PER_EPOCH: Count | None = None
    """Batches per epoch, drawn anew each epoch; ``null``: every clip once."""
    VAL_CLIPS: Count = 64
    """Clips of the test split, spread evenly over it, for the validation loss after each epoch."""
    NUM_WORKERS: Annotated[int, Field(ge=0)] = 4
    """Greatest number of loader processes per GPU; 0: load in the training process."""
    TBPTT_FRAMES: Count | None = None
    """Frames of a chunk of truncated back-propagation through time; the memory's state crosses chunks, gradients don't.
    ``null``: the whole clip. With 1, writing isn't trained, since it only affects later frames."""
    ACTIVATION_CHECKPOINTING: bool = False
    """Recompute each frame in the backward pass, from the memory's state before it: less memory, more time."""
    OPTIMIZER: Literal["adam_onecycle"] = "adam_onecycle"
    """Optimiser and schedule."""
    LR: Positive = 1e-3
    """Peak learning rate."""
    WEIGHT_DECAY: NonNegative = 0.01
    """Weight decay of AdamW."""
    MOMS: Interval = (0.95, 0.85)
    """Momentum (β₁ of AdamW) at both ends of the cycle, and at its peak."""
    PCT_START: Share = 0.4
    """Share of the steps in which the learning rate rises."""
    DIV_FACTOR: Positive = 10.0
    """Ratio of the peak learning rate to the initial one."""
    GRAD_NORM_CLIP: Positive = 10.0
    """Greatest norm of the gradient."""
    EMA: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an exponential moving average of the weights, such as 0.999. The average is validated and saved;
    ``null``: no average."""
    SAVE_EVERY: CountOrSeconds = Seconds(600)
    """Interval between checkpoints for ``--resume``, in steps or seconds; each epoch ends with one too."""
    PRECISION: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Numeric precision of the forward pass. ``auto``: bf16 where the machine is fast at it, else fp32."""


# ----------------------------------------------------------------------------------------------------------- streaming


class StreamingConfig(Section):
    """Limits on the step between two frames of a stream. Frames that are not later than the last one are errors."""

    MAX_GAP: Seconds = Seconds(3)
    """Longest gap since the last frame with points."""
    MAX_SPEED: MetresPerSecond = MetresPerSecond(50)
    """Greatest speed between two poses."""
    MAX_TURN_RATE: RadiansPerSecond = RadiansPerSecond(3)
    """Greatest turn rate between two poses, about any axis."""
    ON_BREAK: Literal["reset", "error"] = "reset"
    """Action when a limit is exceeded: ``reset`` the scene's memory with a warning, or raise an ``error``."""


class TrackMotionConfig(MotionConfig):
    """Motion of the tracks of a class."""

    MAX_DISTANCE: Metres = Metres(4)
    """Largest distance between a detection and the predicted centre of its track."""


class TrackingConfig(CoastingConfig):
    """The tracker of a stream: it numbers objects and lets lost tracks coast."""

    ENABLED: bool = False
    """Track where nothing else is asked for, such as ``--track`` or ``--no-track``."""
    MIN_SCORE: Share = 0.18
    """Score from which on a detection joins a track or starts one."""
    MOTION: TrackMotionConfig = TrackMotionConfig()
    """Motion of the classes that ``CLASS_MOTION`` leaves out."""
    CLASS_MOTION: dict[ClassName, TrackMotionConfig] = {
        "pedestrian": TrackMotionConfig(MAX_DISTANCE=Metres(1), STILL=True),
        "traffic_cone": TrackMotionConfig(MAX_DISTANCE=Metres(1), STILL=True),
        "barrier": TrackMotionConfig(MAX_DISTANCE=Metres(1), STILL=True),
        "bicycle": TrackMotionConfig(MAX_DISTANCE=Metres(3), SPEED=MetresPerSecond(1), ACCELERATION=0.3),
    }
    """Motion by class."""
    COAST: Seconds = Seconds(4)
    """Time since its last sighting for which a track is kept."""
    MIN_COAST_SCORE: Share = 0.1
    """Score below which a coasted box is not shown; its track is kept."""
    NMS_THRESH: Share = 0.1
    """BEV IoU above which a coasted box gives way to a better one of its class, or to a detection of ``MIN_SCORE``."""


class Config(Section):
    """A configuration."""

    CLASS_NAMES: Annotated[tuple[ClassName, ...], Field(min_length=1)]
    """Classes to detect, among nuScenes' ten; labels number them in this order."""
    DATA_CONFIG: DataConfig
    MODEL: ModelConfig
    OPTIMIZATION: OptimizationConfig = OptimizationConfig()
    STREAMING: StreamingConfig = StreamingConfig()
    TRACKING: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _every_class_has_one_head_and_anchors(self) -> Config:
        classes = sorted(self.CLASS_NAMES)
        head = self.MODEL.DENSE_HEAD
        in_heads = sorted(name for entry in head.RPN_HEAD_CFGS for name in entry.HEAD_CLS_NAME)
        if in_heads != classes:
            raise ValueError(
                f"RPN_HEAD_CFGS has {in_heads}, CLASS_NAMES {classes}; each class has to be in exactly one head"
            )
        with_anchors = sorted(entry.class_name for entry in head.ANCHOR_GENERATOR_CONFIG)
        if with_anchors != classes:
            raise ValueError(
                f"ANCHOR_GENERATOR_CONFIG has {with_anchors}, CLASS_NAMES {classes}; each class needs exactly one entry"
            )
        return self

    @model_validator(mode="after")
    def _maps_divide(self) -> Config:
        deepest = 1
        for stride in self.MODEL.BACKBONE_2D.LAYER_STRIDES:
            deepest *= stride
        try:
            self.DATA_CONFIG.pillar_grid.strided(deepest)
            _ = self.memory_grid
        except ValueError as error:
            raise ValueError(f"LAYER_STRIDES or MEMORY.STRIDE do not fit the pillars: {error}") from error
        return self

    def with_changes(self, changes: Mapping[str, object]) -> Config:
        """Return a copy with new values at dotted keys, such as ``{"OPTIMIZATION.LR": 0.01}``.

        A mapping replaces a whole section.

        Raises:
            ConfigError: If a key is unknown or the result isn't valid, naming the key.
        """
        tree = self.model_dump()
        for key, value in changes.items():
            set_key(tree, key, value)
        return validated(Config, tree, "changed configuration")

    @property
    def feature_grid(self) -> BEVGrid:
        """The grid of spatial_features_2d: H, W."""
        return self.DATA_CONFIG.pillar_grid.strided(self.MODEL.BACKBONE_2D.stride)

    @property
    def memory_grid(self) -> BEVGrid:
        """The grid of masks, occupancy and memory: H_m, W_m."""
        return self.feature_grid.strided(self.MODEL.MEMORY.stride(self.feature_grid))
