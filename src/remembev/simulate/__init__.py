"""A simulated world, recorded by a simulated LiDAR and written in the nuScenes format.

`simulate_dataset` writes a data set that nuscenes-devkit loads unmodified; the rest of the package reads it like a
real one. From bottom to top:

- meshes.py, objects/: triangle meshes; kinds of objects with their sizes and shapes
- streets.py, traffic.py: lanes, routes and signals; how vehicles and pedestrians move
- world.py, placement/, sets/: the world of a scene, what can be placed in it, and the six scene sets
- sensors.py, weather.py: named LiDARs; rain and spray
- lidar.py, visibility.py: points and visibility levels by ray casting
- scene.py, writer.py, dataset.py: one scene, its nuScenes tables, a whole data set
"""

from remembev.simulate.dataset import SimulationSettings, simulate_dataset
from remembev.simulate.sets import SETS

__all__ = ["SETS", "SimulationSettings", "simulate_dataset"]
