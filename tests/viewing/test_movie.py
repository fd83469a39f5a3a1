from pathlib import Path

import pytest
import torch
from PIL import Image

from remembev.geometry import BEVGrid
from remembev.viewing.bev import FrameView
from remembev.viewing.movie import write_movie

GRID = BEVGrid(-50.0, -50.0, 50.0, 50.0, 16, 16)


def views(count: int) -> list[FrameView]:
    """A point cloud that stays and a gate that opens."""
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 80 - 40
    return [
        FrameView(GRID, ("car",), "scene", 0.5 * number, points=points, gate=torch.full((16, 16), number / count))
        for number in range(count)
    ]


def test_a_movie_has_a_frame_a_view_and_loops_for_ever(tmp_path: Path) -> None:
    write_movie(tmp_path / "scene.gif", views(4), width=400, frame_seconds=0.25)
    movie = Image.open(tmp_path / "scene.gif")
    assert movie.n_frames == 4
    assert movie.size == (400, 230)
    assert movie.info["loop"] == 0
    assert movie.info["duration"] == 250
    assert [path.name for path in tmp_path.iterdir()] == ["scene.gif"]


def test_what_does_not_change_does_not_flicker(tmp_path: Path) -> None:
    write_movie(tmp_path / "scene.gif", views(4), width=400)
    movie = Image.open(tmp_path / "scene.gif")
    left = []
    for number in range(4):
        movie.seek(number)
        left.append(movie.convert("RGB").crop((4, 25, 190, 205)).tobytes())
    assert len(set(left)) == 1


def test_a_movie_without_a_frame_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        write_movie(tmp_path / "scene.gif", [])
    assert not list(tmp_path.iterdir())
