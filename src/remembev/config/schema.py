"""What a configuration may hold: one class a section, with OpenPCDet's key names where OpenPCDet has the concept.

Every key is checked, unknown keys are errors, and what must fit together (classes and heads, range and voxels) is
checked here, once, so that the model and the data set need not.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isclose
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
from remembev.geometry import BEVGrid

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Interval = tuple[float, float]


class Section(BaseModel):
    """A section of the configuration: no unknown keys, never changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# ---------------------------------------------------------------------------------------------------------------- data


class SplitConfig(Section):
    """Which split of the data set training and testing use: an official one, or one of the root's ``splits.json``."""

    train: str = "train"
    test: str = "val"


class GTSamplingConfig(Section):
    """Ground-truth sampling (SECOND §3.4): objects of the training split, pasted into a clip with their tracks."""

    SAMPLE_GROUPS: dict[str, Count]
    """How many objects of each class a clip is given, such as ``{car: 2, bus: 4}``; a few less if there is no room."""
    MIN_POINTS: dict[str, Count] = {}
    """Points, those of the sweeps included, that an object of a class needs in some frame to be pasted; 1 if not said
    (OpenPCDet's ``filter_by_min_points``)."""
    LIMIT_WHOLE_SCENE: bool = True
    """``SAMPLE_GROUPS`` counts the objects that a clip has already: only what is missing is pasted."""
    REMOVE_EXTRA_WIDTH: tuple[NonNegative, NonNegative, NonNegative] = (0.0, 0.0, 0.0)
    """Metres added to a pasted box's l, w, h for clearing the points that were there."""


class AugmentorConfig(Section):
    """Augmentation of a training clip: one draw for all its frames."""

    GT_SAMPLING: GTSamplingConfig | None = None
    """Objects pasted into the clip before anything else; ``null``: none."""
    FLIP: tuple[Literal["x", "y"], ...] = ()
    """Axes to mirror along, each with probability ½: ``x`` maps y to −y, ``y`` maps x to −x (as in OpenPCDet)."""
    ROTATION: Interval = (0.0, 0.0)
    """Turn about the vertical axis, uniform in this interval, radians."""
    SCALING: Interval = (1.0, 1.0)
    """Factor on all lengths, uniform in this interval."""


class ShuffleConfig(Section):
    """Whether points are shuffled before they are voxelised, so that chance says which of too many a pillar keeps."""

    train: bool = False
    """Drawn anew each time."""
    test: bool = False
    """In streams and evaluation: always in the same way."""


class ProcessorConfig(Section):
    """Voxelisation."""

    VOXEL_SIZE: tuple[Positive, Positive, Positive]
    MAX_POINTS_PER_VOXEL: Count = 20
    MAX_NUMBER_OF_VOXELS: Count = 30000
    SHUFFLE_POINTS: ShuffleConfig = ShuffleConfig()


class DataConfig(Section):
    """The data set, its clips, and what is done to them before the model sees them."""

    DATASET: Literal["NuScenesSeqDataset"] = "NuScenesSeqDataset"
    DATA_PATH: str = "data/nuscenes"
    VERSION: str = "v1.0-trainval"
    DATA_SPLIT: SplitConfig = SplitConfig()
    POINT_CLOUD_RANGE: tuple[float, float, float, float, float, float]
    SEQ_LEN: Count = 4
    """Key frames in a clip."""
    STRIDE: Count = 1
    """Key frames from one frame of a clip to the next."""
    NUM_SWEEPS: Annotated[int, Field(ge=0)] = 0
    """Earlier sweeps added to each key frame; 0: none. OpenPCDet's MAX_SWEEPS counts the key frame: 10 is 9 here."""
    ALIGNMENT: Literal["implicit", "explicit"] = "implicit"
    """``explicit``: the loader moves all frames into the clip's last. ``implicit``: the network moves its memory."""
    AGENT_SLOTS: Count = 1
    """Slots of agent_masks: the first holds all objects without a slot of their own, each other one an object.
    1: the scene is the one slot, and there are no agent masks."""
    BALANCED_RESAMPLING: bool = False
    """Draw as many of an epoch's clips for each class, anew every epoch (CBGS: Zhu et al., 2019, §3.1)."""
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
            raise ValueError("a pillar is as high as POINT_CLOUD_RANGE: make VOXEL_SIZE's z equal to it")
        return self

    @property
    def pillar_grid(self) -> BEVGrid:
        """The grid of pillars."""
        x_min, y_min, _, x_max, y_max, _ = self.POINT_CLOUD_RANGE
        size_x, size_y, _ = self.DATA_PROCESSOR.VOXEL_SIZE
        return BEVGrid(x_min, y_min, x_max, y_max, round((y_max - y_min) / size_y), round((x_max - x_min) / size_x))


# --------------------------------------------------------------------------------------------------------------- model


class VFEConfig(Section):
    """Pillar feature encoder: ``PillarVFE`` on hard voxels, ``DynPillarVFE`` on all points of every pillar."""

    NAME: Literal["PillarVFE", "DynPillarVFE"] = "PillarVFE"
    WITH_DISTANCE: bool = False
    USE_ABSLOTE_XYZ: bool = True
    NUM_FILTERS: tuple[Count, ...] = (64,)


class BackboneConfig(Section):
    """2D BEV backbone: strided blocks, each up-sampled to one map and concatenated."""

    NAME: Literal["BaseBEVBackbone"] = "BaseBEVBackbone"
    LAYER_NUMS: tuple[int, ...]
    LAYER_STRIDES: tuple[Count, ...]
    NUM_FILTERS: tuple[Count, ...]
    UPSAMPLE_STRIDES: tuple[Positive, ...]
    NUM_UPSAMPLE_FILTERS: tuple[Count, ...]

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
            raise ValueError("LAYER_*, NUM_* and UPSAMPLE_STRIDES of BACKBONE_2D need one entry a block each")
        strides = {self._map_stride(block) for block in range(len(self.LAYER_NUMS))}
        if len(strides) != 1:
            raise ValueError(f"the blocks of BACKBONE_2D end at different strides {sorted(strides)}")
        return self

    def _map_stride(self, block: int) -> float:
        stride = 1.0
        for layer_stride in self.LAYER_STRIDES[: block + 1]:
            stride *= layer_stride
        return round(stride / self.UPSAMPLE_STRIDES[block], 6)

    @property
    def stride(self) -> int:
        """Pillars from one cell of spatial_features_2d to the next."""
        return round(self._map_stride(0))

    @property
    def num_bev_features(self) -> int:
        """Channels of spatial_features_2d."""
        return sum(self.NUM_UPSAMPLE_FILTERS)


class OccupancyLossConfig(Section):
    """Bootstrapped cross entropy and dice of the occupancy against scene_masks."""

    WEIGHT: NonNegative = 1.0
    POSITIVE_WEIGHT: Positive = 1.0
    """Weight of occupied cells in the cross entropy: over 1, a gate in doubt stays open."""
    DILATE: Annotated[int, Field(ge=0)] = 0
    """Cells by which objects are widened: a head looks at the cells around an object too."""
    DICE: NonNegative = 1.0
    """Weight of dice beside the cross entropy."""
    BOOTSTRAP_TOP: Share = 0.15
    """Share of the cells, the hardest ones, that count once the warm-up is over."""
    BOOTSTRAP_WARMUP: Interval = (0.2, 0.7)
    """Progress of the training, 0 to 1, from which and up to which the share falls from all cells to BOOTSTRAP_TOP."""


class ForcingConfig(Section):
    """Teacher forcing: the share of the training's frames whose true masks are written, falling (or not) on the way."""

    START: Share = 0.5
    END: Share = 0.5
    DURING: Interval = (0.0, 1.0)
    """Progress of the training, 0 to 1, from which and up to which the share goes from START to END, linearly."""


class WorkingMemoryConfig(Section):
    """The latest memory frames, whole: in memory frames, or in seconds (``4 s``) where MEM_EVERY is in seconds."""

    MIN_FRAMES: CountOrSeconds = 2
    """Memory frames that stay when the others are consolidated (XMem's T_min)."""
    MAX_FRAMES: CountOrSeconds = 5
    """Memory frames at which the oldest are consolidated (XMem's T_max); the read sees at most one less."""


class LongTermMemoryConfig(Section):
    """Prototypes of what left the working memory."""

    MAX_TOKENS: Annotated[int, Field(ge=0)] = 1024
    """Tokens that there is room for; over it the least used go. 0: no long-term memory, first in first out instead."""
    PROTOTYPES: Count = 128
    """Tokens that a consolidation keeps (XMem's P)."""
    CHOOSE: Literal["usage", "random"] = "usage"
    """Which tokens become prototypes: the most used for their age, or any."""


class ForegroundConfig(Section):
    """Foreground-first writing: which cells of a frame are written, where the best go first."""

    TOKENS: CountOrSquareMetres | None = None
    """Cells written of a frame, in tokens or in area (``900 m2``); ``null``: the whole grid."""
    BY: Literal["mask", "occupancy"] = "mask"
    """What makes a cell matter: the mask that is written with it, or the occupancy that the model gives it."""
    MIN: Share = 0.0
    """Cells that matter less than this are not written at all."""


class ReadConfig(Section):
    """What the read knows of a token beside its key. ``null``: nothing, the original similarity to the last bit."""

    DISTANCE: Metres | None = None
    """A token σ away from the query's cell loses ½ of similarity, 2σ away 2 (a Gaussian); σ is learnt from here on."""
    AGE: Seconds | None = None
    """A token loses 1 of similarity for each time constant since it was written; the constant is learnt."""


class AgentsConfig(Section):
    """Agent slots at inference, made of the model's own boxes (``DATA_CONFIG.AGENT_SLOTS`` says how many)."""

    MIN_SCORE: Share = 0.3
    """A box takes a free slot from this score on."""
    MATCH_WITHIN: Metres = Metres(2)
    """A slot's box, moved on by its velocity, is found again in a box whose centre is this near."""
    MAX_MISSED: Annotated[int, Field(ge=0)] = 3
    """Frames in a row that a slot may go without a box before it is free again."""


class MemoryConfig(Section):
    """The memory in BEV: XMem's (Cheng & Schwing, ECCV 2022), or a ConvGRU to compare it with.

    ``ConvGRUBEVModule`` reads STRIDE, FEATURE_DIM, HIDDEN_DIM, MAX_SCENES and FUSION only.
    """

    NAME: Literal["XMemBEVModule", "ConvGRUBEVModule"] = "XMemBEVModule"
    FUSION: Literal["gate", "gate_and_read", "none"] = "gate"
    """What the memory may do to the features: ``gate`` them by its occupancy, also add what it reads
    (``gate_and_read``), or ``none``: there is no memory, and the detector sees single frames. A ConvGRU adds what it
    remembers whatever else is said, but for ``none``."""
    STRIDE: CountOrMetres = 2
    """Size of the memory's cells, in cells of spatial_features_2d or in metres (``1.6 m``): H_m = H / STRIDE."""
    FEATURE_DIM: Count = 128
    """Channels of the features that the memory works on."""
    KEY_DIM: Count = 64
    VALUE_DIM: Count = 128
    HIDDEN_DIM: Count = 64
    TOP_K: Count = 30
    MEM_EVERY: CountOrSeconds = 1
    """How often a frame is written into the working memory: one in so many, or one every so many seconds (``1 s``)."""
    DEEP_UPDATE_EVERY: CountOrSeconds | None = None
    """How often the sensory memory is updated deeply, in frames or seconds; ``null``: when a frame is written."""
    WORKING: WorkingMemoryConfig = WorkingMemoryConfig()
    LONG_TERM: LongTermMemoryConfig = LongTermMemoryConfig()
    FOREGROUND: ForegroundConfig = ForegroundConfig()
    READ: ReadConfig = ReadConfig()
    FORGET_BEYOND: Metres | None = None
    """Tokens farther from the car than this are forgotten."""
    FORGET_AFTER: Seconds | None = None
    """Tokens older than this are forgotten."""
    MAX_SCENES: Count = 8
    """Scenes whose memory is kept; the one used longest ago goes first."""
    AGENTS: AgentsConfig = AgentsConfig()
    TEACHER_FORCING: ForcingConfig = ForcingConfig()
    GATE_BIAS: float = 3.0
    """Occupancy logit that an untrained model gives: its gate is open, so that it can't kill recall early."""
    OCC_LOSS: OccupancyLossConfig = OccupancyLossConfig()

    @model_validator(mode="after")
    def _frames_in_order(self) -> MemoryConfig:
        for name in ("MIN_FRAMES", "MAX_FRAMES"):
            if isinstance(getattr(self.WORKING, name), Seconds) and not isinstance(self.MEM_EVERY, Seconds):
                raise ValueError(f"WORKING.{name} in seconds needs MEM_EVERY in seconds too")
        if not 1 <= self.min_frames < self.max_frames:
            raise ValueError(
                f"WORKING keeps {self.min_frames} to {self.max_frames} memory frames: needed are 1 ≤ MIN < MAX"
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
        """Cells of spatial_features_2d to a cell of the memory. Raises ValueError unless it is a whole number."""
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
        """Tokens that a memory frame has room for."""
        wanted, cells = self.FOREGROUND.TOKENS, memory_grid.height * memory_grid.width
        if wanted is None:
            return cells
        if not isinstance(wanted, int):
            wanted = max(1, round(wanted / (memory_grid.cell_x * memory_grid.cell_y)))
        return min(wanted, cells)

    def _memory_frames(self, size: int | Seconds) -> int:
        return size if isinstance(size, int) else max(1, round(size / self.MEM_EVERY))


class AnchorConfig(Section):
    """Anchors of one class, and how ground truth is matched to them."""

    class_name: str
    anchor_sizes: tuple[tuple[Positive, Positive, Positive], ...]
    anchor_rotations: tuple[float, ...] = (0.0, 1.57)
    anchor_bottom_heights: tuple[float, ...]
    align_center: bool = False
    matched_threshold: Share
    unmatched_threshold: Share


class HeadConfig(Section):
    """One head of ``AnchorHeadMulti``: the classes that share it."""

    HEAD_CLS_NAME: Annotated[tuple[str, ...], Field(min_length=1)]


class SeparateRegConfig(Section):
    """Separate branches of a head: middle convolutions, then one output a branch."""

    NUM_MIDDLE_CONV: Annotated[int, Field(ge=0)] = 1
    NUM_MIDDLE_FILTER: Count = 64
    REG_LIST: tuple[str, ...] = ("reg:2", "height:1", "size:3", "angle:2", "velo:2")

    @model_validator(mode="after")
    def _ten_numbers_in_order(self) -> SeparateRegConfig:
        expected = ("reg:2", "height:1", "size:3", "angle:2", "velo:2")
        if self.REG_LIST != expected:
            raise ValueError(f"REG_LIST has to be {list(expected)}: the box code of this head")
        return self


class TargetAssignerConfig(Section):
    """Matching of ground truth to anchors."""

    NAME: Literal["AxisAlignedTargetAssigner"] = "AxisAlignedTargetAssigner"
    MIN_POINTS_IN_GT: Annotated[int, Field(ge=0)] = 1
    """Boxes with fewer LiDAR points are no targets of the detector."""
    SEEN_WITHIN: Seconds | None = None
    """Boxes that had a point this short a time ago are targets too, whatever they have now: what a detector that has a
    history can know. The history is the clip so far and what the sweeps of its first frame reach; ``null``: none."""
    UNSEEN_WEIGHT: Positive = 1.0
    """Weight of those boxes in the losses: they are few beside the ones with points."""


class LossWeights(Section):
    """Weights of the head's losses."""

    pos_cls_weight: NonNegative = 1.0
    neg_cls_weight: NonNegative = 2.0
    cls_weight: NonNegative = 1.0
    loc_weight: NonNegative = 0.25
    dir_weight: NonNegative = 0.2
    code_weights: Annotated[tuple[NonNegative, ...], Field(min_length=10, max_length=10)] = (
        1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2,
    )  # fmt: skip


class LossConfig(Section):
    """Losses of the head: sigmoid focal on classes, L1 on box codes."""

    REG_LOSS_TYPE: Literal["WeightedL1Loss"] = "WeightedL1Loss"
    LOSS_WEIGHTS: LossWeights = LossWeights()


class DenseHeadConfig(Section):
    """``AnchorHeadMulti``: anchors, heads and their losses."""

    NAME: Literal["AnchorHeadMulti"] = "AnchorHeadMulti"
    SHARED_CONV_NUM_FILTER: Count = 64
    RPN_HEAD_CFGS: tuple[HeadConfig, ...]
    SEPARATE_REG_CONFIG: SeparateRegConfig = SeparateRegConfig()
    USE_DIRECTION_CLASSIFIER: bool = False
    DIR_OFFSET: float = 0.78539
    DIR_LIMIT_OFFSET: float = 0.0
    NUM_DIR_BINS: Annotated[int, Field(ge=2)] = 2
    ANCHOR_GENERATOR_CONFIG: tuple[AnchorConfig, ...]
    TARGET_ASSIGNER_CONFIG: TargetAssignerConfig = TargetAssignerConfig()
    LOSS_CONFIG: LossConfig = LossConfig()


class NMSConfig(Section):
    """Rotated non-maximum suppression, a class at a time."""

    NMS_THRESH: Share = 0.2
    NMS_PRE_MAXSIZE: Count = 1000
    NMS_POST_MAXSIZE: Count = 83


class PostProcessingConfig(Section):
    """From predictions to boxes."""

    SCORE_THRESH: Share = 0.1
    NMS_CONFIG: NMSConfig = NMSConfig()


class ModelConfig(Section):
    """The model, from points to boxes in the order in which data flows through it."""

    NAME: Literal["TemporalPointPillar"] = "TemporalPointPillar"
    VFE: VFEConfig = VFEConfig()
    BACKBONE_2D: BackboneConfig
    MEMORY: MemoryConfig = MemoryConfig()
    DENSE_HEAD: DenseHeadConfig
    POST_PROCESSING: PostProcessingConfig = PostProcessingConfig()


# ------------------------------------------------------------------------------------------------------------ training


class PretrainConfig(Section):
    """Training before the training: the detector without its memory, on single frames, each from another place."""

    EPOCHS: Count
    LR: Positive
    """Peak of its learning rate; what is not said here is that of the training."""
    BATCH_SIZE_PER_GPU: Count | None = None
    """Single frames a step; ``null``: as many as a step of the training sees, ``SEQ_LEN × BATCH_SIZE_PER_GPU``."""
    BATCHES_PER_EPOCH: Count | None = None
    """``null``: as many as the training's."""


class OptimizationConfig(Section):
    """Training: AdamW with decoupled weight decay and one cycle of learning rate and momentum."""

    PRETRAIN: PretrainConfig | None = None
    """What a training starts from, if it isn't told what: ``null`` is fresh weights."""
    NORM_EVAL: bool = False
    """Batch normalisation keeps the running statistics of the weights that a training starts from: those of a few
    frames of one scene, which a clip is, vary far more than those of as many single frames."""
    BATCH_SIZE_PER_GPU: Count = 1
    NUM_EPOCHS: Count = 20
    BATCHES_PER_EPOCH: Count | None = None
    """An epoch is this many batches, drawn anew each time; ``null``: every clip once."""
    VAL_CLIPS: Count = 64
    """Clips of the test split whose loss is worked out after every epoch, spread evenly over it."""
    NUM_WORKERS: Annotated[int, Field(ge=0)] = 4
    TBPTT_FRAMES: Count | None = None
    """Frames of a clip that are back-propagated together, the memory carried on from one chunk to the next; ``null``:
    the whole clip. What a frame writes learns from later frames of its chunk only: a chunk of 1 teaches no writing."""
    ACTIVATION_CHECKPOINTING: bool = False
    """Keep only the memory's state of a frame, and run the frame a second time to back-propagate it."""
    OPTIMIZER: Literal["adam_onecycle"] = "adam_onecycle"
    LR: Positive = 1e-3
    WEIGHT_DECAY: NonNegative = 0.01
    MOMS: Interval = (0.95, 0.85)
    PCT_START: Share = 0.4
    DIV_FACTOR: Positive = 10.0
    GRAD_NORM_CLIP: Positive = 10.0
    EMA: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of a moving average of the weights, such as 0.999, which is validated and written; ``null``: none."""
    SAVE_EVERY: CountOrSeconds = Seconds(600)
    """A checkpoint to resume from every so many steps of the optimiser, or seconds, beside that of every epoch."""
    PRECISION: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """``auto``: bf16 on a GPU that has it, fp16 on one that has not, fp32 on a CPU."""


# ----------------------------------------------------------------------------------------------------------- streaming


class StreamingConfig(Section):
    """When a frame of a stream goes on from the frame before; one that is not later than it is never taken."""

    MAX_GAP: Seconds = Seconds(3)
    """Frames may be missing: what is remembered is used for this long after the latest frame that had points."""
    MAX_SPEED: MetresPerSecond = MetresPerSecond(50)
    """A pose that is farther off than this speed allows is another place, not a motion."""
    MAX_TURN_RATE: RadiansPerSecond = RadiansPerSecond(3)
    """The same for turns, about any axis."""
    ON_BREAK: Literal["reset", "error"] = "reset"
    """What a longer gap or a jump is met with: ``reset`` of that scene's memory, with a warning, or an ``error``."""


class Config(Section):
    """A whole configuration."""

    CLASS_NAMES: Annotated[tuple[str, ...], Field(min_length=1)]
    DATA_CONFIG: DataConfig
    MODEL: ModelConfig
    OPTIMIZATION: OptimizationConfig = OptimizationConfig()
    STREAMING: StreamingConfig = StreamingConfig()

    @model_validator(mode="after")
    def _every_class_has_one_head_and_anchors(self) -> Config:
        classes = sorted(self.CLASS_NAMES)
        head = self.MODEL.DENSE_HEAD
        in_heads = sorted(name for entry in head.RPN_HEAD_CFGS for name in entry.HEAD_CLS_NAME)
        if in_heads != classes:
            raise ValueError(f"RPN_HEAD_CFGS holds {in_heads}, CLASS_NAMES {classes}: each class needs one head")
        with_anchors = sorted(entry.class_name for entry in head.ANCHOR_GENERATOR_CONFIG)
        if with_anchors != classes:
            raise ValueError(f"ANCHOR_GENERATOR_CONFIG holds {with_anchors}, CLASS_NAMES {classes}: one entry each")
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
        """Return a copy with other values at dotted keys, such as ``{"OPTIMIZATION.LR": 0.01}``, validated anew.

        A section given as a mapping replaces the whole section.

        Raises:
            ConfigError: If a key doesn't exist or its value isn't valid, naming the key.
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
