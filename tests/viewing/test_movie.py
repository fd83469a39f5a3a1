from pathlib import Path

import pytest
import torch
from PIL import Image, ImageChops, ImageStat

from remembev.errors import UserError
from remembev.geometry import BEVGrid
from remembev.viewing.movie import render_frames, write_movie
from remembev.viewing.views import FrameView

GRID = BEVGrid(-50.0, -50.0, 50.0, 50.0, 16, 16)


def views(count: int) -> list[FrameView]:
    """A point cloud that stays and a gate whose right half opens."""
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 80 - 40
    gates = [torch.cat((torch.zeros(16, 8), torch.full((16, 8), number / count)), dim=1) for number in range(count)]
    return [
        FrameView(GRID, ("car",), "scene", 0.5 * number, points=points, gate=gate) for number, gate in enumerate(gates)
    ]


def test_a_gif_has_one_frame_per_view_and_loops(tmp_path: Path) -> None:
    write_movie(tmp_path / "scene.gif", views(4), width=400, frame_seconds=0.25)
    movie = Image.open(tmp_path / "scene.gif")
    assert movie.n_frames == 4
    assert movie.size == (400, 267)
    assert movie.info["loop"] == 0
    assert movie.info["duration"] == 250
    assert [path.name for path in tmp_path.iterdir()] == ["scene.gif"]


def test_static_content_does_not_flicker(tmp_path: Path) -> None:
    write_movie(tmp_path / "scene.gif", views(4), width=400)
    movie = Image.open(tmp_path / "scene.gif")
    left = []
    for number in range(4):
        movie.seek(number)
        left.append(movie.convert("RGB").crop((4, 4, 115, 260)).tobytes())
    assert len(set(left)) == 1


def test_frames_are_written_as_mp4(tmp_path: Path) -> None:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    write_movie(tmp_path / "scene.mp4", views(4), width=400, frame_seconds=0.25)
    frames = imageio_ffmpeg.read_frames(str(tmp_path / "scene.mp4"))
    metadata = next(frames)
    pictures = [Image.frombytes("RGB", metadata["size"], pixels) for pixels in frames]
    assert (metadata["codec"], metadata["size"], metadata["duration"]) == (
        "h264",
        (400, 266),
        pytest.approx(1.0, abs=0.05),
    )
    for decoded, drawn in zip(pictures, render_frames(views(4), width=400), strict=True):
        assert ImageStat.Stat(ImageChops.difference(decoded, drawn.crop((0, 0, 400, 266)))).mean == pytest.approx(
            [0] * 3, abs=3
        )


def test_a_movie_with_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"scene\.avi.*\.gif or \.mp4"):
        write_movie(tmp_path / "scene.avi", views(1))


def test_a_movie_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        write_movie(tmp_path / "scene.gif", [])
    assert not list(tmp_path.iterdir())
