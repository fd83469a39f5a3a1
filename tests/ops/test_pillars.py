"""Points to the BEV map in one pass, against a loop over points and against the encoders that it stands for."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from remembev.config import load_config
from remembev.geometry import BEVGrid
from remembev.models.vfe import DynPillarVFE, PillarVFE, build_vfe
from remembev.ops import encode_pillars, pillars, reference, scatter_pillars

GRID = BEVGrid(-4.0, -2.0, 4.0, 2.0, 4, 8)
Z_RANGE = (-1.0, 3.0)
LIMITS = [(None, None), (3, 100), (2, 4), (100, 2), (None, 3), (4, None)]


def random_clouds(seed: int, batch: int, length: int, columns: int = 5) -> tuple[Tensor, Tensor]:
    """Clouds that reach out of the range, with padding of NaN; a third of the points lies on edges of cells."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(batch, length, columns, generator=generator)
    points[..., :3] = points[..., :3] * torch.tensor([10.0, 5.0, 5.0]) - torch.tensor([5.0, 2.5, 1.5])
    on_edge = torch.rand(batch, length, generator=generator) < 0.3
    points[..., :3] = torch.where(on_edge[..., None], points[..., :3].round(), points[..., :3])
    num_points = torch.randint(0, length + 1, (batch,), generator=generator)
    is_padding = torch.arange(length) >= num_points[:, None]
    return points.masked_fill(is_padding[..., None], math.nan), num_points


def random_layer(seed: int, inputs: int, channels: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(channels, inputs, generator=generator), torch.randn(channels, generator=generator)


@given(
    batch=st.integers(1, 3),
    length=st.integers(0, 50),
    seed=st.integers(0, 10_000),
    columns=st.integers(3, 8),
    with_distance=st.booleans(),
    limits=st.sampled_from(LIMITS),
)
@settings(max_examples=60)
def test_the_map_is_that_of_a_loop_over_points(
    batch: int, length: int, seed: int, columns: int, with_distance: bool, limits: tuple[int | None, int | None]
) -> None:
    points, num_points = random_clouds(seed, batch, length, columns)
    weight, bias = random_layer(seed, columns + 6 + with_distance)
    bev = encode_pillars(points, num_points, weight, bias, GRID, Z_RANGE, *limits)
    expected = reference.encode_pillars(points, num_points, weight, bias, GRID, Z_RANGE, *limits)
    assert bev.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(bev, expected.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("limits", LIMITS)
def test_points_of_one_cell_make_one_pillar(limits: tuple[int | None, int | None]) -> None:
    points = torch.rand(1, 30, 5) * 0.99
    weight, bias = random_layer(0, 11)
    bev = encode_pillars(points, torch.tensor([30]), weight, bias, GRID, Z_RANGE, *limits)
    torch.testing.assert_close(
        bev, reference.encode_pillars(points, torch.tensor([30]), weight, bias, GRID, Z_RANGE, *limits).float()
    )
    assert bev.any(dim=1).nonzero().tolist() == [[0, 2, 4]]


@pytest.mark.parametrize("with_distance", [False, True])
@pytest.mark.parametrize("encoder", [PillarVFE, DynPillarVFE])
def test_the_map_is_that_of_the_encoder_in_eval_mode(
    encoder: type[PillarVFE] | type[DynPillarVFE], with_distance: bool
) -> None:
    vfe, weight, bias = folded(encoder, with_distance)
    limits = (vfe.max_points, vfe.max_pillars) if isinstance(vfe, PillarVFE) else (None, None)
    grid, (low, high) = vfe.grid, vfe.z_range
    generator = torch.Generator().manual_seed(1)
    spread = torch.tensor([2 * grid.x_max, 2 * grid.y_max, high - low, 1, 1])
    points = (torch.rand(2, 3000, 5, generator=generator) - 0.5) * spread
    points[:, ::2] *= torch.tensor([0.1, 0.1, 1, 1, 1])
    num_points = torch.tensor([3000, 1700])
    with torch.no_grad():
        features, coords = vfe(points, num_points)
        expected = scatter_pillars(features, coords, 2, grid)
        bev = encode_pillars(points, num_points, weight, bias, grid, vfe.z_range, *limits)
    assert bev.stride() == expected.stride()
    torch.testing.assert_close(bev, expected, rtol=1e-5, atol=1e-5)


def folded(
    encoder: type[PillarVFE] | type[DynPillarVFE], with_distance: bool
) -> tuple[PillarVFE | DynPillarVFE, Tensor, Tensor]:
    """An encoder with normalisation as if it had been trained, and its layer with the normalisation folded in."""
    cfg = load_config("tiny", ["DATA_CONFIG.DATA_PROCESSOR.MAX_NUMBER_OF_VOXELS=500"])
    update = {"NAME": encoder.__name__, "WITH_DISTANCE": with_distance, "NUM_FILTERS": [16]}
    vfe = build_vfe(cfg.MODEL.VFE.model_copy(update=update), cfg.DATA_CONFIG).eval()
    layer = vfe.pfn_layers[0]
    norm = layer.norm
    torch.manual_seed(0)
    for tensor in (norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    for tensor in (norm.weight, norm.running_var):
        nn.init.uniform_(tensor, 0.5, 2.0)
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    return vfe, layer.linear.weight.detach() * scale[:, None], norm.bias.detach() - norm.running_mean * scale


def test_the_map_is_the_same_whatever_the_chunk_of_points(monkeypatch: pytest.MonkeyPatch) -> None:
    points, num_points = random_clouds(3, 2, 50)
    inputs = points, num_points, *random_layer(0, 11), GRID, Z_RANGE, 3, 10
    whole = encode_pillars(*inputs)
    monkeypatch.setattr(pillars, "_CHUNK", 7)
    torch.testing.assert_close(encode_pillars(*inputs), whole)


class Encoder(nn.Module):
    def __init__(self, max_points: int | None, max_pillars: int | None) -> None:
        super().__init__()
        weight, bias = random_layer(0, 11)
        self.weight, self.bias = nn.Buffer(weight), nn.Buffer(bias)
        self.limits = max_points, max_pillars

    def forward(self, points: Tensor, num_points: Tensor) -> Tensor:
        return encode_pillars(points, num_points, self.weight, self.bias, GRID, Z_RANGE, *self.limits)


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_pass_gives_the_map_of_any_cloud(strict: bool) -> None:
    encoder = Encoder(3, 10)
    exported = torch.export.export(encoder, random_clouds(0, 2, 50), strict=strict).module()
    for seed in range(1, 4):
        points, num_points = random_clouds(seed, 2, 50)
        torch.testing.assert_close(exported(points, num_points), encoder(points, num_points))


def test_a_gradient_is_refused() -> None:
    weight, bias = random_layer(0, 11)
    with pytest.raises(ValueError, match="no gradient"):
        encode_pillars(*random_clouds(0, 1, 5), weight.requires_grad_(), bias, GRID, Z_RANGE, None, None)


def test_a_layer_on_other_inputs_is_refused() -> None:
    weight, bias = random_layer(0, 10)
    with pytest.raises(ValueError, match=r"\[6, 10\]"):
        encode_pillars(*random_clouds(0, 1, 5), weight, bias, GRID, Z_RANGE, None, None)


def test_a_map_in_bfloat16_is_the_map_rounded() -> None:
    weight, bias = torch.randn(8, 11), torch.randn(8)
    inputs = (*random_clouds(0, 1, 200), weight, bias, GRID, Z_RANGE, 4, None)
    assert torch.equal(encode_pillars(*inputs, torch.bfloat16), encode_pillars(*inputs).bfloat16())
