"""Typed, validated configurations in OpenPCDet's keys, read from YAML files.

``schema.py`` defines the keys, ``load.py`` reads files, ``base.py`` merges a file with its bases, ``variants.py`` has
named changes. ``nuscenes``, ``benchmark``, ``small`` and ``tiny`` are shipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from remembev.lazy import lazy_names

if TYPE_CHECKING:
    from remembev.config.load import config_from_yaml, config_to_yaml, load_config, shipped_configs
    from remembev.config.schema import Config, StreamingConfig, TrackingConfig
    from remembev.config.variants import DEFAULT_VARIANTS, apply_variant, changed_keys

_MODULES = {
    "config_from_yaml": "load",
    "config_to_yaml": "load",
    "load_config": "load",
    "shipped_configs": "load",
    "Config": "schema",
    "StreamingConfig": "schema",
    "TrackingConfig": "schema",
    "DEFAULT_VARIANTS": "variants",
    "apply_variant": "variants",
    "changed_keys": "variants",
}

__all__ = [
    "DEFAULT_VARIANTS",
    "Config",
    "StreamingConfig",
    "TrackingConfig",
    "apply_variant",
    "changed_keys",
    "config_from_yaml",
    "config_to_yaml",
    "load_config",
    "shipped_configs",
]

__getattr__ = lazy_names(__name__, _MODULES)
