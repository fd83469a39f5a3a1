"""Bird's-eye views, checked by their pixels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from remembev.geometry import BEVGrid
from remembev.models import Detections
from remembev.viewing import style
from remembev.viewing.bev import save_frames
from remembev.viewing.views import FrameView, TrackView

GRID = BEVGrid(-50.0, -50.0, 50.0, 50.0, 25, 25)
CLASSES = ("car", "pedestrian")
CAR_BOX = [20.0, 30.0, 0.0, 12.0, 8.0, 2.0, 0.0, 0.0, 0.0]
CAR = Detections(torch.tensor([CAR_BOX]), torch.tensor([0.9]), torch.tensor([0]))
EMPTY = FrameView(grid=GRID, class_names=CLASSES)


def panel(view: FrameView, folder: Path, **options: float) -> NDArray[np.float64]:
    """Pixels [500, 500, 3] of the panel, first row at the top, as save_frames lays it out."""
    save_frames(folder / "frame.png", [view], panel=500, **options)  # type: ignore[arg-type]
    pixels = np.asarray(Image.open(folder / "frame.png").convert("RGB")) / 255
    return pixels[25:525, 12:512]


def region(pixels: NDArray[np.float64], x: float, y: float, metres: float) -> NDArray[np.float64]:
    column, row, half = round((x + 50) * 5), round((50 - y) * 5), round(metres * 5 / 2)
    return pixels[row - half : row + half, column - half : column + half]


def holds(pixels: NDArray[np.float64], colour: str, tolerance: float = 0.06) -> bool:
    return bool((np.abs(pixels - to_rgb(colour)).max(axis=-1) < tolerance).any())


def test_a_detection_is_drawn_in_its_class_colour_with_forward_up_and_x_to_the_right(tmp_path: Path) -> None:
    pixels = panel(replace(EMPTY, detections=CAR), tmp_path)
    colour = style.class_colour("car")
    assert holds(region(pixels, 20, 30, 16), colour)
    for x, y in ((-20, 30), (20, -30), (30, 20)):
        assert not holds(region(pixels, x, y, 12), colour)


def test_detections_below_the_minimum_score_are_not_drawn(tmp_path: Path) -> None:
    pixels = panel(replace(EMPTY, detections=CAR), tmp_path, min_score=0.95)
    assert not holds(region(pixels, 20, 30, 16), style.class_colour("car"))


def test_ground_truth_without_a_point_is_dashed_and_padding_is_not_drawn(tmp_path: Path) -> None:
    boxes = torch.zeros(3, 9)
    boxes[:, 0] = torch.tensor([-30.0, 0.0, 30.0])
    boxes[:, 1] = 30.0
    boxes[:, 3:6] = 14.0
    view = replace(EMPTY, gt_boxes=boxes, gt_labels=torch.tensor([0, 1, -1]), gt_num_points=torch.tensor([5, 0, 3]))
    pixels = panel(view, tmp_path)
    bright = [(region(pixels, x, 30, 18).min(axis=-1) > 0.6).sum() for x in (-30, 0, 30)]
    assert bright[0] > 1.4 * bright[1] > 0
    assert bright[2] == 0


def test_a_detection_without_a_point_is_dashed_and_not_filled(tmp_path: Path) -> None:
    colour = style.class_colour("car")
    seen, remembered = (
        panel(replace(EMPTY, detections=replace(CAR, observed=torch.tensor([observed]))), tmp_path)
        for observed in (True, False)
    )
    drawn = [
        (np.abs(region(pixels, 20, 30, 16) - to_rgb(colour)).max(axis=-1) < 0.2).sum() for pixels in (seen, remembered)
    ]
    assert drawn[0] > 1.3 * drawn[1] > 0
    inside = region(remembered, 17, 28, 2)
    assert np.allclose(inside, to_rgb(style.BACKGROUND), atol=0.02)
    assert not np.allclose(region(seen, 17, 28, 2), inside, atol=0.1)


def test_a_tail_follows_the_objects_path_in_the_world_and_fades(tmp_path: Path) -> None:
    driven = torch.eye(4, dtype=torch.float64)
    driven[:2, 3] = torch.tensor([1000.0, 500.0])
    path = torch.tensor([[1000.0 + x, 520.0, 0.0] for x in (-40, -20, 0, 20, 40)], dtype=torch.float64)
    track = TrackView(1, 0, path)
    pixels = panel(replace(EMPTY, tracks=[track], global_from_lidar=driven), tmp_path)
    late, early = (region(pixels, x, 20, 4).max() for x in (30, -30))
    assert late > early > region(pixels, 30, -20, 4).max()


def test_a_ring_label_at_the_edge_does_not_overlap_the_title(tmp_path: Path) -> None:
    view = replace(EMPTY, grid=BEVGrid(-40.0, -40.0, 40.0, 40.0, 16, 16))
    save_frames(tmp_path / "frame.png", [view], panel=500)
    above_the_panel = np.asarray(Image.open(tmp_path / "frame.png").convert("RGB"))[:24] / 255
    assert np.allclose(above_the_panel, to_rgb(style.BACKGROUND), atol=0.02)


def test_the_gate_is_drawn_at_its_cells(tmp_path: Path) -> None:
    gate = torch.zeros(25, 25)
    row, column, _ = GRID.cells(torch.tensor([[-30.0, 30.0]]))
    gate[row - 1 : row + 2, column - 1 : column + 2] = 1.0
    pixels = panel(replace(EMPTY, gate=gate), tmp_path)
    assert holds(region(pixels, -30, 30, 4), "#ffc15e")
    assert not holds(region(pixels, 30, 30, 12), "#ffc15e")
    assert not holds(region(pixels, -30, -30, 12), "#ffc15e")


def test_a_pixel_has_the_colour_of_its_highest_point(tmp_path: Path) -> None:
    low = torch.tensor([[30.0, 10.0, -3.0]])
    high = torch.tensor([[30.0, 10.0, 5.0]])
    only_low = region(panel(replace(EMPTY, points=low), tmp_path), 30, 10, 2).max()
    both = region(panel(replace(EMPTY, points=torch.cat((high, low))), tmp_path), 30, 10, 2).max()
    assert both > only_low > region(panel(EMPTY, tmp_path), 30, 10, 2).max()


@pytest.mark.parametrize("count", [1, 3])
def test_frames_are_drawn_side_by_side(tmp_path: Path, count: int) -> None:
    save_frames(tmp_path / "strip.png", [EMPTY] * count, panel=200)
    width, height = Image.open(tmp_path / "strip.png").size
    assert abs(width - (205 * count + 5)) <= 1
    assert abs(height - 230) <= 1


def test_an_empty_frame_can_be_drawn(tmp_path: Path) -> None:
    nothing = replace(
        EMPTY,
        points=torch.zeros(0, 5),
        gt_boxes=torch.zeros(0, 9),
        gt_labels=torch.zeros(0, dtype=torch.int64),
        gt_num_points=torch.zeros(0, dtype=torch.int64),
        detections=Detections(torch.zeros(0, 9), torch.zeros(0), torch.zeros(0, dtype=torch.int64)),
    )
    save_frames(tmp_path / "empty.png", [nothing], panel=200)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.png"]
