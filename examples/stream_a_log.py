"""Stream a recorded log through trained weights: point clouds and poses in, boxes out.

    python examples/stream_a_log.py                                  # makes a log of a simulated street first
    python examples/stream_a_log.py my_log --weights model.safetensors --out boxes.jsonl

A log is a folder: ``points/*.npy`` in the order of their names, each a cloud [N, 4] float32 (x, y, z in the LiDAR
frame, intensity 0 … 255); ``poses.npy`` [T, 4, 4] float64, LiDAR to any fixed frame; ``seconds.npy`` [T] float64.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from remembev import StreamingDetector


def read_log(log: Path) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
    """Yield points [N, 4], pose global_from_lidar [4, 4] and time in seconds of each frame."""
    files = sorted((log / "points").glob("*.npy"))
    poses, seconds = np.load(log / "poses.npy"), np.load(log / "seconds.npy")
    for file, pose, time in zip(files, poses, seconds, strict=True):
        yield torch.from_numpy(np.load(file)), torch.from_numpy(pose), float(time)


def simulate_log(log: Path, frames: int) -> None:
    """Write a log of a simulated street, two frames a second; needs the extra ``[simulate]``."""
    from remembev.simulate.scene import SceneSimulation

    street = SceneSimulation(seed=1003, index=0, seconds=frames / 2, scene_set="overtaking")
    (log / "points").mkdir(parents=True)
    poses, seconds = [], []
    for number, sweep in enumerate(street.frames(sweeps=False)):
        np.save(log / "points" / f"{number:06d}.npy", sweep.points[:, :4])
        poses.append(sweep.global_from_ego @ street.ego_from_lidar)
        seconds.append(sweep.time)
    np.save(log / "poses.npy", np.array(poses))
    np.save(log / "seconds.npy", np.array(seconds))


def main(arguments: list[str] | None = None) -> None:
    """Stream the log, print what is found frame by frame, and write the boxes if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, nargs="?", help="folder of the log; a simulated one if not given")
    parser.add_argument("--weights", default="small", help="weights, by path or name")
    parser.add_argument("--min-score", type=float, default=0.3, help="lowest score of a box")
    parser.add_argument("--frames", type=int, default=12, help="frames of the simulated log")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, help="file of the boxes, a JSON object a frame and line")
    options = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory() as temporary:
        log = options.log
        if log is None:
            log = Path(temporary) / "log"
            simulate_log(log, options.frames)
        detector = StreamingDetector.from_checkpoint(options.weights, device=options.device)
        lines = []
        for points, pose, seconds in read_log(log):
            detections = detector.step(points, pose, seconds, scene_token=str(log))
            detections = detections[detections.scores >= options.min_score]
            names = [detector.cfg.CLASS_NAMES[label] for label in detections.labels.tolist()]
            remembered = int(detections.remembered.sum())
            found = ", ".join(f"{count} {name}" for name, count in Counter(names).most_common()) or "nothing"
            print(f"{seconds:6.2f} s  {found}  ({remembered} remembered)")
            scores, boxes = detections.scores.tolist(), detections.boxes.tolist()  # x, y, z, l, w, h, yaw, vx, vy
            lines.append({"seconds": seconds, "names": names, "scores": scores, "boxes": boxes})
    if options.out is not None:
        options.out.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
