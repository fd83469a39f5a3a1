"""Terminal frames, checked by their characters and colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.color import Color
from rich.console import Console, ConsoleDimensions
from rich.segment import Segment

from remembev.geometry import BEVGrid
from remembev.models import Detections
from remembev.streaming import Moment, StreamState
from remembev.structs import TensorStruct
from remembev.viewing import FrameView, style
from remembev.viewing.terminal import REMEMBERED, _braille, terminal_frame

ROWS = 16
GRID = BEVGrid(-40.0, -40.0, 40.0, 40.0, 8, 8)
CAR = [20.0, 30.0, 0.0, 8.0, 8.0, 2.0, 0.0, 0.0, 0.0]
PEDESTRIAN = [-20.0, -30.0, 0.0, 8.0, 8.0, 2.0, 0.0, 0.0, 0.0]
DETECTIONS = Detections(
    torch.tensor([CAR, PEDESTRIAN]), torch.tensor([0.9, 0.8]), torch.tensor([0, 1]), torch.tensor([True, False])
)
EMPTY = FrameView(grid=GRID, class_names=("car", "pedestrian"), title="a street", seconds=1.5)
MOMENT = Moment(torch.eye(4, dtype=torch.float64)[None], torch.zeros(1, dtype=torch.float64))
STATE = StreamState.start(TensorStruct(), MOMENT)


def lines(view: FrameView, **options: float) -> list[list[Segment]]:
    """The lines that are printed, a segment a character."""
    size = ConsoleDimensions(2 * ROWS + 48, ROWS + 1)
    console = Console(width=size.width, height=size.height, color_system="truecolor", force_terminal=True)
    printed = console.render_lines(terminal_frame(view, STATE, size, **options))
    return [[Segment(char, part.style) for part in line for char in part.text] for line in printed]


def at(printed: list[list[Segment]], x: float, y: float) -> Segment:
    """The character at a place in metres, forward up and x to the right."""
    return printed[int((40 - y) / 80 * ROWS)][int((x + 40) / 80 * 2 * ROWS)]


def colours(printed: list[list[Segment]], x: float, y: float, metres: float) -> set[Color | None]:
    """Colours of the characters with dots around a place."""
    places = [(x + a, y + b) for a in np.arange(-metres, metres) for b in np.arange(-metres, metres)]
    characters = [at(printed, *place) for place in places]
    return {segment.style.color for segment in characters if segment.style and segment.text not in (" ", "⠀")}


def text_of(printed: list[list[Segment]]) -> str:
    return "\n".join("".join(segment.text for segment in line) for line in printed)


@given(st.lists(st.booleans(), min_size=8 * 6, max_size=8 * 6))
def test_braille_characters_have_the_dots_as_numbered_by_unicode_with_the_last_row_on_top(values: list[bool]) -> None:
    dots = np.array(values).reshape(8, 6)
    codes = _braille(dots)
    numbers = {1: (0, 0), 2: (1, 0), 3: (2, 0), 4: (0, 1), 5: (1, 1), 6: (2, 1), 7: (3, 0), 8: (3, 1)}
    for row in range(2):
        for column in range(3):
            bits = int(codes[row, column]) - 0x2800
            for number, (down, right) in numbers.items():
                assert bool(bits >> (number - 1) & 1) == dots[7 - (4 * row + down), 2 * column + right]


def test_points_are_drawn_at_their_position_without_the_road() -> None:
    points = torch.tensor([[31.0, 31.0, 0.0, 0.0, 0.0], [-31.0, 31.0, -1.8, 0.0, 0.0]])
    printed = lines(replace(EMPTY, points=points))
    assert at(printed, 31, 31).text != "⠀"
    assert at(printed, -31, 31).text == at(printed, 31, -31).text == "⠀"


def test_observed_boxes_have_their_class_colour_and_remembered_ones_another() -> None:
    printed = lines(replace(EMPTY, detections=DETECTIONS))
    assert colours(printed, 20, 30, 6) == {Color.parse(style.class_colour("car"))}
    assert colours(printed, -20, -30, 6) == {Color.parse(REMEMBERED)}


def test_boxes_above_the_minimum_score_are_counted_by_class_seen_and_remembered() -> None:
    text = text_of(lines(replace(EMPTY, detections=DETECTIONS)))
    rows = {line.split("━")[1].split()[0]: line for line in text.splitlines() if "━" in line}
    assert rows["car"].split()[-1] == "1"
    assert rows["pedestrian"].split()[-2:] == ["┄", "1"]
    none = text_of(lines(replace(EMPTY, detections=DETECTIONS), min_score=0.85))
    assert "┄" not in none


def test_the_background_is_brighter_where_the_gate_is_open_and_its_mean_is_printed() -> None:
    gate = torch.zeros(8, 8)
    gate[7, 0] = 1.0  # the last row lies ahead
    printed = lines(replace(EMPTY, gate=gate))
    assert "gate lets through 2%" in text_of(printed)
    brightness = {place: sum(background(at(printed, *place))) for place in ((-37, 37), (37, 37), (-37, -37), (37, -37))}
    assert brightness.pop((-37, 37)) > 2 * max(brightness.values())


def background(segment: Segment) -> tuple[int, int, int]:
    assert segment.style is not None
    assert segment.style.bgcolor is not None
    return tuple(segment.style.bgcolor.get_truecolor())


@pytest.mark.parametrize("size", [(20, 5), (80, 24), (300, 200)])
def test_the_picture_fits_the_terminal_and_is_never_empty(size: tuple[int, int]) -> None:
    console = Console(width=200, color_system=None)
    with console.capture() as captured:
        console.print(terminal_frame(replace(EMPTY, detections=DETECTIONS), STATE, ConsoleDimensions(*size)))
    shown = captured.get().rstrip("\n").splitlines()
    assert "a street" in shown[0]
    if size == (80, 24):
        assert len(shown) < 24
        assert max(len(line.rstrip()) for line in shown) <= 80
