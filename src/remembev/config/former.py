"""Former names, values and defaults of keys, which are still read."""

from __future__ import annotations

import logging
from typing import Any

from remembev.errors import ConfigError

FORMER_KEYS = {
    "OPTIMIZATION.START": "OPTIMIZATION.PRETRAIN",
    "OPTIMIZATION.CHUNK": "OPTIMIZATION.TBPTT_FRAMES",
    "OPTIMIZATION.CHECKPOINT": "OPTIMIZATION.ACTIVATION_CHECKPOINTING",
}
"""Present names of keys by their former ones."""

_FORMER_FUSIONS = {"gate": "gate_residual", "gate_and_read": "gate_residual_and_read"}
"""Names of ``FUSION`` from before the gate multiplied, when configurations were stored without a ``GATE_RAMP``."""
_STORED_KEYS = {"FUSION", "FORGET_AFTER", "MAX_SCENES", "AGENTS", "TEACHER_FORCING", "GATE_BIAS"}
"""Keys of ``MEMORY`` that only a stored configuration, which has every key, has all."""

FORMER_DEFAULTS = {"DATA_CONFIG.MASK_OBJECTS": "seen"}
"""Values of keys that a stored configuration lacks, where these differ from the present defaults."""

logger = logging.getLogger(__name__)


def current_key(key: str) -> str:
    """Return the present name of a dotted key, with a warning if it has been renamed."""
    for former, current in FORMER_KEYS.items():
        if key == former or key.startswith(f"{former}."):
            logger.warning("%s is now %s", former, current)
            return current + key.removeprefix(former)
    return key


def with_former_defaults(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a complete, stored configuration with the former defaults of those that it lacks."""
    for key, value in FORMER_DEFAULTS.items():
        section, name = key.split(".")
        if isinstance(tree.get(section), dict):
            tree = {**tree, section: {name: value, **tree[section]}}
    return tree


def rename_former(tree: dict[str, Any], name: str, *, warn: bool) -> dict[str, Any]:
    """Return a configuration with its former keys and values under their present names.

    Args:
        tree: Keys as they are in a file.
        name: The file, for messages.
        warn: Log a warning for each name.

    Raises:
        ConfigError: If a key is given under both names.
    """
    for former, current in FORMER_KEYS.items():
        section, old = former.split(".")
        new = current.split(".")[1]
        keys = tree.get(section)
        if not isinstance(keys, dict) or old not in keys:
            continue
        if new in keys:
            raise ConfigError(f"{name}: both {former} (old name) and {current} are set; keep {current}")
        if warn:
            logger.warning("%s: %s is now %s", name, former, current)
        tree = {**tree, section: {new if key == old else key: value for key, value in keys.items()}}
    return _rename_former_fusion(tree, name, warn=warn)


def _rename_former_fusion(tree: dict[str, Any], name: str, *, warn: bool) -> dict[str, Any]:
    model = tree.get("MODEL")
    memory = model.get("MEMORY") if isinstance(model, dict) else None
    if not isinstance(memory, dict) or not _STORED_KEYS <= memory.keys() or "GATE_RAMP" in memory:
        return tree
    former = memory["FUSION"]
    if memory.get("NAME") != "XMemBEVModule" or former not in _FORMER_FUSIONS:
        return tree
    current = _FORMER_FUSIONS[former]
    if warn:
        logger.warning("%s: MODEL.MEMORY.FUSION %s of an earlier version is now %s", name, former, current)
    return {**tree, "MODEL": {**tree["MODEL"], "MEMORY": {**memory, "FUSION": current}}}
