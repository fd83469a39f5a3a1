from tests.data.conftest import road_root

__all__ = ["road_root"]
