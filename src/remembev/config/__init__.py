"""The configuration: typed, validated, in OpenPCDet's keys, read from YAML files.

``schema.py`` says what a configuration may hold, ``load.py`` reads it, ``base.py`` puts a file over its bases;
``nuscenes``, ``benchmark``, ``small`` and ``tiny`` are shipped, all but the last with their peers.
"""

from remembev.config.load import config_from_yaml, config_to_yaml, load_config, shipped_configs
from remembev.config.schema import Config, StreamingConfig

__all__ = ["Config", "StreamingConfig", "config_from_yaml", "config_to_yaml", "load_config", "shipped_configs"]
