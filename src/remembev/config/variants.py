"""Variants: what is compared with what, as changes to a configuration.

A variant's name is made of parts joined by ``+``: an input, a memory, options of that memory, changes to the training
and what follows the detector, such as ``single``, ``sweeps+gate``, ``gate+fifo``, ``single+noaug`` or ``read+track``. A
name means the same for every configuration; what it doesn't name stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import ceil
from typing import TYPE_CHECKING

from remembev.errors import ConfigError

if TYPE_CHECKING:
    from remembev.config.schema import Config, MemoryConfig

Changes = Mapping[str, object]
"""New values by their dotted keys."""

DEFAULT_VARIANTS = (
    *("single", "sweeps", "conv_gru", "gate", "read", "sweeps+read"),
    *("single+track", "sweeps+track", "conv_gru+track", "read+track", "sweeps+read+track"),
)
"""What ``remembev compare`` trains of a single configuration."""

_TARGETS = "MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG"


@dataclass(frozen=True)
class Part:
    """A part of a variant's name.

    Attributes:
        what: What it stands for.
        changes: The keys that it changes in a configuration.
    """

    what: str
    changes: Callable[[Config], Changes]


def apply_variant(cfg: Config, name: str) -> Config:
    """Return the variant of that name of a configuration.

    A variant without an input uses single sweeps, one without a memory has none.

    Raises:
        ConfigError: If a part is unknown, or parts don't go together.
    """
    for part in _parts(name):
        cfg = cfg.with_changes(part.changes(cfg))
    return cfg


def describe_variant(name: str) -> str:
    """Return what a variant is, part by part."""
    return ", ".join(part.what for part in _parts(name))


def trained_variant(name: str) -> str:
    """Return the variant that is trained for a variant: itself without what follows the detector."""
    return "+".join(word for word in name.split("+") if word not in FOLLOWERS) or "single"


def former_variant(name: str) -> str | None:
    """Return a hint for the name of a former configuration, such as ``small_gate``; None for other names."""
    base, _, variant = name.partition("_")
    variant = variant.replace("_read", "+read")
    if base not in ("small", "benchmark", "nuscenes") or variant not in DEFAULT_VARIANTS:
        return None
    if base != "small" and variant in MEMORIES:
        variant = f"sweeps+{variant}"
    return f"{name} is a variant now: give {base} with --variant {variant}"


def changed_keys(cfg: Config, base: Config) -> dict[str, object]:
    """Return the keys in which a configuration differs from another, with its own values."""
    own, others = _flat(cfg.model_dump(mode="json")), _flat(base.model_dump(mode="json"))
    return {key: own.get(key) for key in {**own, **others} if own.get(key) != others.get(key)}


def _flat(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return the values of a tree by their dotted keys."""
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


# ------------------------------------------------------------------------------------------------------------- changes


def _no_memory(cfg: Config) -> Changes:
    """Targets are boxes with points; with stacked sweeps also boxes that had points within them."""
    seen_within = None if cfg.DATA_CONFIG.NUM_SWEEPS == 0 else "0.5 s"
    targets = {
        f"{_TARGETS}.SEEN_WITHIN": seen_within,
        f"{_TARGETS}.MIN_POINTS_KNOWN": 0,
        f"{_TARGETS}.UNSEEN_WEIGHT": 1,
    }
    return {"MODEL.MEMORY.FUSION": "none", **targets}


def _gate(cfg: Config, fusion: str) -> Changes:
    """The head sees only the gate, so the occupancy loss gets a larger weight and a smaller positive weight.

    A gate can't tell the head which objects are hidden or how they move, so these weigh no more than others.
    """
    return {
        **_no_objects(cfg),
        "MODEL.MEMORY.NAME": "XMemBEVModule",
        "MODEL.MEMORY.FUSION": fusion,
        "MODEL.MEMORY.OCC_LOSS.WEIGHT": 0.1,
        "MODEL.MEMORY.OCC_LOSS.POSITIVE_WEIGHT": 10,
        f"{_TARGETS}.UNSEEN_WEIGHT": 1,
    }


def _read(cfg: Config) -> Changes:
    return {**_objects(cfg), "MODEL.MEMORY.NAME": "XMemBEVModule", "MODEL.MEMORY.FUSION": "gate_and_read"}


def _conv_gru(cfg: Config) -> Changes:
    """A ConvGRU with as many weights as the memory, halfway between ``gate`` and ``read``; channels in steps of 4."""
    memory, channels = cfg.MODEL.MEMORY, cfg.MODEL.BACKBONE_2D.num_bev_features
    area = memory.stride(cfg.feature_grid) ** 2
    features = memory.KEY_DIM + memory.VALUE_DIM

    def weights(hidden: int) -> int:
        return area * channels * features + 27 * hidden * (features + hidden) + channels * hidden

    wanted = _memory_weights(cfg)
    hidden = min(range(4, 4096, 4), key=lambda hidden: abs(weights(hidden) - wanted))
    return {
        **_no_objects(cfg),
        "MODEL.MEMORY.NAME": "ConvGRUBEVModule",
        "MODEL.MEMORY.FUSION": "gate_and_read",
        "MODEL.MEMORY.FEATURE_DIM": features,
        "MODEL.MEMORY.HIDDEN_DIM": hidden,
    }


def _memory_weights(cfg: Config) -> float:
    """Weights of the convolutions of ``XMemBEVModule``, with half of what only ``read`` has."""
    memory, channels = cfg.MODEL.MEMORY, cfg.MODEL.BACKBONE_2D.num_bev_features
    feature, key, value, hidden = memory.FEATURE_DIM, memory.KEY_DIM, memory.VALUE_DIM, memory.HIDDEN_DIM
    area = memory.stride(cfg.feature_grid) ** 2
    decoder_in, encoder_in = feature + value + hidden, feature + 2
    kernels_3x3 = (
        feature * (2 * key + 1)  # key, shrinkage, selection
        + feature * (decoder_in + 3 * feature + 1)  # decoder, occupancy
        + value * (encoder_in + 3 * value)  # value encoder
        + hidden * _sensory_inputs(memory)  # updates of the sensory memory
    )
    shortcuts = feature * decoder_in + value * encoder_in
    read = area * channels * (feature + hidden)
    return area * channels * feature + 9 * kernels_3x3 + shortcuts + read / 2


def _sensory_inputs(memory: MemoryConfig) -> int:
    """Channels that the convolutions of the sensory memory read for each of its channels."""
    feature, hidden = memory.FEATURE_DIM, memory.HIDDEN_DIM
    if memory.SENSORY == "difference":
        return feature + (feature + 1 + hidden)
    return 3 * (feature + 1 + hidden + memory.VALUE_DIM + hidden)


def _fifo(cfg: Config) -> Changes:
    """Replace the long-term store by as many more frames of working memory."""
    memory = cfg.MODEL.MEMORY
    more = ceil(memory.LONG_TERM.MAX_TOKENS / memory.tokens_per_frame(cfg.memory_grid))
    return {"MODEL.MEMORY.LONG_TERM.MAX_TOKENS": 0, "MODEL.MEMORY.WORKING.MAX_FRAMES": memory.max_frames + more}


def _foreground(cfg: Config) -> Changes:
    return {"MODEL.MEMORY.FOREGROUND.TOKENS": cfg.memory_grid.height * cfg.memory_grid.width // 4}


def _objects(cfg: Config) -> Changes:
    """The presence of an object is taught by what is out of sight, the head by what is in sight alone.

    Where a target needs several points, it needs only one once the clip has shown the object with so many.
    """
    objects = cfg.MODEL.MEMORY.OBJECTS
    needs_several = cfg.MODEL.DENSE_HEAD.TARGET_ASSIGNER_CONFIG.MIN_POINTS_IN_GT > 1
    targets = {
        f"{_TARGETS}.SEEN_WITHIN": "4 s" if needs_several else None,
        f"{_TARGETS}.MIN_POINTS_KNOWN": 1 if needs_several else 0,
        f"{_TARGETS}.UNSEEN_WEIGHT": 1,
    }
    return {"MODEL.MEMORY.OBJECTS": {} if objects is None else objects.model_dump(mode="json"), **targets}


def _no_objects(cfg: Config) -> Changes:
    """Only the head can find what is out of sight, so it is taught that too."""
    if cfg.MODEL.MEMORY.OBJECTS is None:
        return {}
    return {
        "MODEL.MEMORY.OBJECTS": None,
        f"{_TARGETS}.SEEN_WITHIN": "4 s",
        f"{_TARGETS}.MIN_POINTS_KNOWN": 0,
        f"{_TARGETS}.UNSEEN_WEIGHT": 2,
    }


def _findings(cfg: Config) -> Changes:
    return {"MODEL.MEMORY.WRITE": "findings", "MODEL.MEMORY.READ.NOTHING": True}


# --------------------------------------------------------------------------------------------------------------- parts

INPUTS = {
    "single": Part("single sweeps", lambda _: {"DATA_CONFIG.NUM_SWEEPS": 0}),
    "sweeps": Part("ten stacked sweeps", lambda _: {"DATA_CONFIG.NUM_SWEEPS": 9}),
}
_NO_MEMORY = Part("no memory", _no_memory)
MEMORIES = {
    "gate": Part("the memory gates the features", lambda cfg: _gate(cfg, "gate")),
    "gate_residual": Part(
        "a projection of the gated features is added to them", lambda cfg: _gate(cfg, "gate_residual")
    ),
    "read": Part(
        "the memory gates the features, what it reads is added to them, and what was found is remembered as objects",
        _read,
    ),
    "conv_gru": Part("a ConvGRU of about as many parameters instead of the memory", _conv_gru),
}
OPTIONS = {
    "no_long_term": Part("no long-term memory", lambda _: {"MODEL.MEMORY.LONG_TERM.MAX_TOKENS": 0}),
    "fifo": Part("as many tokens, first in, first out", _fifo),
    "random_prototypes": Part("prototypes drawn at random", lambda _: {"MODEL.MEMORY.LONG_TERM.CHOOSE": "random"}),
    "positions": Part("the read knows distances", lambda _: {"MODEL.MEMORY.READ.DISTANCE": "10 m"}),
    "ages": Part("the read knows ages", lambda _: {"MODEL.MEMORY.READ.AGE": "5 s"}),
    "foreground": Part("only the best quarter of the cells is written", _foreground),
    "findings": Part("what was found is written, and a query may read nothing", _findings),
    "objects": Part("what was found is remembered as objects, and the head learns only what is in sight", _objects),
    "no_objects": Part("no remembered objects, and the head learns what is out of sight too", _no_objects),
}
"""Options of the memories but ``conv_gru``."""
TRAINING = {
    "noaug": Part("no sensor augmentation", lambda _: {"DATA_CONFIG.DATA_AUGMENTOR.SENSOR_AUGMENTATION": None}),
}
"""Changes to the training of any model."""
FOLLOWERS = {
    "track": Part("a tracker numbers the objects and lets lost ones coast", lambda _: {"TRACKING.ENABLED": True}),
}
"""Steps after the detector, such as a tracker: they change evaluation and streams, not training."""
_KINDS = (INPUTS, MEMORIES, OPTIONS, TRAINING, FOLLOWERS)


def describe_parts() -> str:
    """Return what a variant's name is made of, in a line."""
    inputs, memories, options, training, followers = (", ".join(kind) for kind in _KINDS)
    return (
        f"an input ({inputs}), a memory ({memories}), options of memories but conv_gru ({options}), "
        f"changes to the training ({training}) and a tracker ({followers}), joined by +"
    )


def _parts(name: str) -> list[Part]:
    """Return the parts of a name in the order in which they are applied: input, memory, options, training, tracker."""
    words = name.split("+")
    known = [word for kind in _KINDS for word in kind]
    for word in words:
        if word not in known:
            close = get_close_matches(word, known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ConfigError(f"variant {name}: unknown part {word!r}; {hint}There are {describe_parts()}")
    inputs, memories, options, training, followers = ([word for word in words if word in kind] for kind in _KINDS)
    if len(inputs) > 1 or len(memories) > 1 or len(set(words)) < len(words):
        raise ConfigError(f"variant {name}: at most one input, one memory, and each option once")
    if options and memories in ([], ["conv_gru"]):
        raise ConfigError(f"variant {name}: {', '.join(options)} needs gate or read, as in gate+{'+'.join(options)}")
    return [
        INPUTS[inputs[0] if inputs else "single"],
        MEMORIES[memories[0]] if memories else _NO_MEMORY,
        *(OPTIONS[option] for option in options),
        *(TRAINING[change] for change in training),
        *(FOLLOWERS[follower] for follower in followers),
    ]
