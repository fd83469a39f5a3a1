"""A simulated world, seen by a simulated LiDAR, written in the nuScenes format.

`simulate_dataset` writes a data set that nuscenes-devkit loads as it is. The rest of the package only ever reads such
a data set, and can't tell it from a real one.
"""

from remembev.simulate.dataset import SimulationSettings, simulate_dataset
from remembev.simulate.sets import SETS

__all__ = ["SETS", "SimulationSettings", "simulate_dataset"]
