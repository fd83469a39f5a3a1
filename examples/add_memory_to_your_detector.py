"""Put RememBEV's memory into a detector of your own, and train it on a task that needs one.

    python examples/add_memory_to_your_detector.py --steps 100

Any detector will do that makes bird's-eye-view features [B, C, H, W] and has a head on top of them. ``XMemBEVModule``
goes in between: features in, features of the same shape out, changed by what the scene's earlier frames showed.

The task: a block crosses the map and is invisible in every second frame. The head has to say where it is in all frames.
A detector of single frames can't; the same detector with the memory learns to.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from remembev import XMemBEVModule
from remembev.config.schema import MemoryConfig
from remembev.geometry import BEVGrid
from remembev.memory import FrameContext

GRID = BEVGrid(x_min=-16.0, y_min=-16.0, x_max=16.0, y_max=16.0, height=16, width=16)  # cells of 2 m
FRAMES, SECONDS = 4, 0.5  # of a clip; between two frames


class YourDetector(nn.Module):
    """Stands for the detector that you have: a backbone [B, 1, H, W] → [B, 32, H, W], and a head → [B, 1, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 1))


class SingleFrames(nn.Module):
    """Your detector as it was."""

    def __init__(self, detector: YourDetector) -> None:
        super().__init__()
        self.detector = detector

    def loss(self, clip: dict[str, Tensor], t: int) -> Tensor:
        """Return the loss of frame t."""
        logits = self.detector.head(self.detector.backbone(clip["image"][:, t]))
        return F.binary_cross_entropy_with_logits(logits, clip["mask"][:, t])


class WithMemory(nn.Module):
    """Your detector with a memory between backbone and head."""

    def __init__(self, detector: YourDetector) -> None:
        super().__init__()
        self.detector = detector
        cfg = MemoryConfig(FUSION="gate_and_read", STRIDE=1, FEATURE_DIM=32, KEY_DIM=16, VALUE_DIM=32, HIDDEN_DIM=32)
        self.memory = XMemBEVModule(cfg, in_channels=32, feature_grid=GRID)

    def loss(self, clip: dict[str, Tensor], t: int) -> Tensor:
        """Return the loss of frame t, and in training that of the memory's occupancy; at t = 0 the memory is empty."""
        features = self.detector.backbone(clip["image"][:, t])
        context = FrameContext(
            prev_from_frame=clip["prev_from_frame"][:, t],  # how the sensor moved
            timestamp=clip["timestamp"][:, t],
            scene_masks=clip["mask"][:, t] if self.training else None,  # where objects are, written into the memory
        )
        scenes = [f"scene {number}" for number in range(len(features))]
        # One backward pass a clip: keep the gradient history of what is stored from frame to frame
        features, occ_logits = self.memory(features, scenes, t, context, keep_graph=True)
        loss = F.binary_cross_entropy_with_logits(self.detector.head(features), clip["mask"][:, t])
        if self.training:
            loss = loss + F.binary_cross_entropy_with_logits(occ_logits, clip["mask"][:, t])
        return loss


def draw_clips(batch: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Return clips [B, T, ...] of a block that moves two cells a frame and can't be seen in every second frame."""
    mask = torch.zeros(batch, FRAMES, 1, GRID.height, GRID.width)
    rows = torch.randint(0, GRID.height - 3, (batch,), generator=generator).tolist()
    columns = torch.randint(0, GRID.width - 2 * FRAMES, (batch,), generator=generator).tolist()
    for item, (row, column) in enumerate(zip(rows, columns, strict=True)):
        for t in range(FRAMES):
            mask[item, t, 0, row : row + 3, column + 2 * t : column + 2 * t + 3] = 1
    image = mask.clone()
    image[:, 1::2] = 0
    return {
        "image": image,
        "mask": mask,
        "prev_from_frame": torch.eye(4).expand(batch, FRAMES, 4, 4),  # this sensor stands still
        "timestamp": SECONDS * torch.arange(FRAMES, dtype=torch.float64).expand(batch, FRAMES),
    }


def clip_loss(model: nn.Module, clip: dict[str, Tensor]) -> Tensor:
    """Return the loss of a clip: the mean of its frames', so that gradients go back through time."""
    return torch.stack([model.loss(clip, t) for t in range(FRAMES)]).mean()


def train(model: nn.Module, steps: int, batch: int) -> None:
    """Train on fresh clips."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = clip_loss(model.train(), draw_clips(batch, generator))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()


@torch.no_grad()
def test(model: nn.Module) -> float:
    """Return the detector's loss on clips that it wasn't trained on; the memory gets no masks."""
    return clip_loss(model.eval(), draw_clips(32, torch.Generator().manual_seed(1))).item()


def main(arguments: list[str] | None = None) -> dict[str, tuple[float, float]]:
    """Train the detector without and with the memory; print and return its losses before and after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100, help="training steps of each")
    parser.add_argument("--batch", type=int, default=4, help="clips a step")
    options = parser.parse_args(arguments)
    losses = {}
    for name, build in (("single frames", SingleFrames), ("with memory", WithMemory)):
        torch.manual_seed(0)
        model = build(YourDetector())
        before = test(model)
        train(model, options.steps, options.batch)
        losses[name] = before, test(model)
        print(f"{name:14} loss {before:.3f} → {losses[name][1]:.3f}")
    return losses


if __name__ == "__main__":
    main()
