"""A simulated street as a stream: its key frames as a data set would hold them, simulated on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from remembev.data import Frame, Sweep
from remembev.geometry import invert_pose, transform_boxes
from remembev.simulate import scene
from remembev.simulate.scene import SceneSimulation
from remembev.simulate.visibility import visibility_level
from remembev.simulate.writer import ANNOTATED_WITHIN
from remembev.streaming.sources.stacking import stack_turns

CLASS_OF: dict[str, str | None] = {
    "vehicle.car": "car",
    "vehicle.truck": "truck",
    "vehicle.construction": "construction_vehicle",
    "vehicle.bus.rigid": "bus",
    "vehicle.trailer": "trailer",
    "movable_object.barrier": "barrier",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.bicycle": "bicycle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.stroller": None,
    "movable_object.trafficcone": "traffic_cone",
}
"""Detection class of each simulated category, as in the devkit; None: annotated, but not detected."""


def demo_scene() -> SceneSimulation:
    """Return the street of ``remembev stream --demo``: one of the set ``overtaking`` in which much is occluded."""
    return SceneSimulation(seed=1003, index=0, seconds=20.0, scene_set="overtaking")


def simulated_frames(
    simulation: SceneSimulation, class_names: Sequence[str], num_sweeps: int = 0, *, token: str = "simulated"
) -> Iterator[Frame]:
    """Yield the key frames of a simulated scene, each with up to ``num_sweeps`` earlier sweeps.

    They equal what ``NuScenesIndex.load_frame`` gives of the written scene, except where that looks ahead: here objects
    appear with their first point, and velocities are those since the previous key frame. Times are seconds from the
    start of the scene.
    """
    labels = torch.tensor([_label(actor.category, class_names) for actor in simulation.actors])
    turns: deque[Sweep] = deque(maxlen=num_sweeps + 1)
    met = torch.zeros(len(labels), dtype=torch.bool)
    before: scene.Sweep | None = None
    for turn in simulation.frames(sweeps=num_sweeps > 0):
        pose = torch.from_numpy(turn.global_from_ego @ simulation.ego_from_lidar)
        turns.appendleft(Sweep(torch.from_numpy(turn.points), pose, turn.time))
        if turn.objects is None:
            continue
        num_points = torch.from_numpy(turn.objects.num_points)
        met |= num_points > 0
        kept = met & (labels >= 0) & torch.from_numpy(turn.objects.distance < ANNOTATED_WITHIN)
        yield Frame(
            points=stack_turns(turns),
            global_from_lidar=pose,
            timestamp=turn.time,
            scene_token=token,
            sample_token=f"{token}/{turn.time:.6f}",
            boxes=transform_boxes(invert_pose(pose), _with_velocities(turn, before))[kept].float(),
            labels=labels[kept],
            track_ids=torch.nonzero(kept)[:, 0],
            num_points=num_points[kept],
            visibility=torch.tensor([visibility_level(share) for share in turn.objects.share.tolist()])[kept],
        )
        before = turn


def _label(category: str, class_names: Sequence[str]) -> int:
    name = CLASS_OF[category]
    return list(class_names).index(name) if name is not None and name in class_names else -1


def _with_velocities(turn: scene.Sweep, before: scene.Sweep | None) -> Tensor:
    """Return global boxes [A, 9] float64 of a key frame; velocities are 0 in the first one."""
    assert turn.objects is not None
    boxes = turn.objects.boxes
    velocities = np.zeros((len(boxes), 2))
    if before is not None and before.objects is not None:
        velocities = (boxes - before.objects.boxes)[:, :2] / (turn.time - before.time)
    return torch.from_numpy(np.concatenate((boxes, velocities), axis=1))
