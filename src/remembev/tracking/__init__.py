"""Tracking: an online tracker that numbers the objects of a scene and lets lost ones coast.

``tracker.py`` is the step, ``association.py`` decides which box joins which track, ``free_space.py`` tells from the
LiDAR's rays that a place is empty, ``state.py`` holds the tracks. The filter of their motion is the memory's.
"""

from remembev.tracking.association import match_greedily
from remembev.tracking.free_space import Rays, count_rays
from remembev.tracking.state import TrackerState, Tracks
from remembev.tracking.tracker import UNTRACKED, Tracker

__all__ = ["UNTRACKED", "Rays", "Tracker", "TrackerState", "Tracks", "count_rays", "match_greedily"]
