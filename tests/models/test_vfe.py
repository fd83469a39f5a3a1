import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from remembev.config.schema import DataConfig, ProcessorConfig, VFEConfig
from remembev.models import DynPillarVFE, PillarVFE, build_vfe
from remembev.models.vfe import PFNLayer, add_height_basis

MAX_POINTS = 6


def data_config(max_points: int = MAX_POINTS, max_pillars: int = 100) -> DataConfig:
    processor = ProcessorConfig(
        VOXEL_SIZE=(0.5, 0.5, 4.0), MAX_POINTS_PER_VOXEL=max_points, MAX_NUMBER_OF_VOXELS=max_pillars
    )
    return DataConfig(POINT_CLOUD_RANGE=(-4.0, -2.0, -3.0, 4.0, 2.0, 1.0), DATA_PROCESSOR=processor)


def cloud(num_points: int, seed: int = 0, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    points = torch.rand(batch, num_points, 5, generator=torch.Generator().manual_seed(seed))
    points[..., :3] = points[..., :3] * torch.tensor([8.0, 4.0, 4.0]) - torch.tensor([4.0, 2.0, 3.0])
    return points, torch.full((batch,), num_points)


def vfe(name: str, data: DataConfig | None = None, **kwargs: object) -> PillarVFE | DynPillarVFE:
    torch.manual_seed(0)
    encoder = build_vfe(VFEConfig.model_validate({"NAME": name, **kwargs}), data or data_config())
    for layer in encoder.pfn_layers:
        torch.nn.init.normal_(layer.norm.weight)
        torch.nn.init.normal_(layer.norm.bias)
    return encoder


both = pytest.mark.parametrize("name", ["PillarVFE", "DynPillarVFE"])


def test_a_pillar_has_the_inputs_of_the_paper() -> None:
    encoder = vfe("PillarVFE").eval()
    points = torch.tensor([[[1.1, 0.2, 0.3, 9.0, 0.05], [1.4, 0.4, -1.0, 7.0, 0.0]]])
    features, coords = encoder(points, torch.tensor([2]))
    assert coords.tolist() == [[0, 4, 10]]
    mean, centre = points[0, :, :3].mean(0), torch.tensor([1.25, 0.25, -1.0])
    inputs = torch.zeros(MAX_POINTS, 11)
    inputs[:2] = torch.cat((points[0], points[0, :, :3] - mean, points[0, :, :3] - centre), dim=1)
    layer = encoder.pfn_layers[0]
    rows = inputs @ layer.linear.weight.T / (1 + 1e-3) ** 0.5 * layer.norm.weight + layer.norm.bias
    torch.testing.assert_close(features, rows.relu().amax(0, keepdim=True))


@given(heights=st.lists(st.floats(-5, 5), min_size=2, max_size=6, unique_by=lambda height: round(height, 1)))
def test_the_height_basis_interpolates_linearly_between_its_heights(heights: list[float]) -> None:
    heights = sorted(heights)
    values = torch.randn(len(heights), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = torch.linspace(-6, 6, 200, dtype=torch.float64)
    points = F.pad(z[:, None], (2, 2))[None]
    extended = add_height_basis(points, torch.tensor(heights, dtype=torch.float64))
    assert torch.equal(extended[..., :5], points)
    np.testing.assert_allclose(extended[0, :, 5:] @ values, np.interp(z, heights, values), atol=1e-6)


@both
def test_a_layer_with_heights_sees_what_is_between_ground_and_crown(name: str) -> None:
    person, crown = torch.tensor([[0.1, 0.1, z, 5.0, 0.0] for z in (-1.0, 1.9)])
    pillar = torch.stack((torch.tensor([0.1, 0.1, -2.9, 5.0, 0.0]), crown, crown))[None]
    inhabited = torch.stack((torch.tensor([0.1, 0.1, -2.9, 5.0, 0.0]), crown, person))[None]
    data = data_config().model_copy(update={"POINT_CLOUD_RANGE": (-4.0, -2.0, -3.0, 4.0, 2.0, 3.0)})

    def seen(**kwargs: object) -> torch.Tensor:
        encoder = vfe(name, data, **kwargs).eval()
        (layer,) = encoder.pfn_layers
        layer.linear.weight.data[:, 5 + len(encoder.heights) :] = 0  # without the mean, which any point moves
        return (encoder(inhabited, torch.tensor([3]))[0] - encoder(pillar, torch.tensor([3]))[0]).abs().amax()

    assert seen() < 1e-6
    assert seen(HEIGHTS=(-2.0, -1.0, 0.0)) > 0.1


@both
@pytest.mark.parametrize(
    "kwargs",
    [{}, {"WITH_DISTANCE": True}, {"USE_ABSLOTE_XYZ": False}, {"NUM_FILTERS": (16, 8)}, {"HEIGHTS": (-2.0, 0.0)}],
)
def test_every_setting_gives_its_number_of_features(name: str, kwargs: dict[str, object]) -> None:
    encoder = vfe(name, **kwargs)
    features, coords = encoder(*cloud(40))
    assert features.shape == (len(coords), encoder.num_features)
    assert features.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_layer_equals_pytorch_s_linear_normalisation_and_maximum(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = PFNLayer(11, 16).to(dtype).train()
    rows = torch.randn(500, 11, generator=generator, dtype=torch.float64)
    rows[:, 5:8] = rows[:, :3] * 1e-2 + rows[:, 5:8] * 1e-3  # offsets go with coordinates, and are far smaller
    rows[:, :3] *= 30
    pillar = torch.cat((torch.arange(20), torch.randint(0, 20, (480,), generator=generator)))
    weights = torch.randn(20, 16, generator=generator, dtype=torch.float64)

    reference = copy.deepcopy(layer).double()
    encoded = reference.norm(reference.linear(rows)).relu()
    expected = torch.zeros(20, 16).double().scatter_reduce(0, pillar[:, None].expand_as(encoded), encoded, "amax")
    (expected * weights).sum().backward()
    pooled = layer.pool(rows.to(dtype), pillar, 20)
    (pooled * weights.to(dtype)).sum().backward()

    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(pooled.double(), expected, **close)
    for own, its in zip(layer.parameters(), reference.parameters(), strict=True):
        assert own.grad is not None
        torch.testing.assert_close(own.grad.double(), its.grad, **close)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(layer.norm, name).double(), getattr(reference.norm, name), **close)


def full_pillars() -> tuple[torch.Tensor, torch.Tensor]:
    """Clouds in which every pillar that is hit has exactly MAX_POINTS points."""
    corners = torch.tensor([[-4.0, -2.0], [0.5, 1.0], [3.5, 1.5]])
    inside = torch.rand(3, MAX_POINTS, 5, generator=torch.Generator().manual_seed(1)) * 0.45 + 0.01
    inside[..., :2] += corners[:, None]
    return inside.flatten(0, 1)[None], torch.tensor([3 * MAX_POINTS])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("filters", [(16,), (16, 8)])
def test_both_encoders_agree_where_pillars_are_full(training: bool, filters: tuple[int, ...]) -> None:
    hard, dynamic = (vfe(name, NUM_FILTERS=filters).train(training) for name in ("PillarVFE", "DynPillarVFE"))
    (hard_features, hard_coords), (dynamic_features, dynamic_coords) = (e(*full_pillars()) for e in (hard, dynamic))
    assert torch.equal(hard_coords, dynamic_coords)
    torch.testing.assert_close(hard_features, dynamic_features)


def test_padded_rows_take_part_in_the_maximum_of_hard_voxels_only() -> None:
    hard, dynamic = (vfe(name).eval() for name in ("PillarVFE", "DynPillarVFE"))
    points, num_points = cloud(40)
    layer = hard.pfn_layers[0]
    value_of_padding = F.relu(layer.norm(torch.zeros(1, hard.num_features)))
    real_points_only, _ = dynamic(points, num_points)
    features, _ = hard(points, num_points)
    assert (real_points_only < value_of_padding).any()
    torch.testing.assert_close(features, torch.maximum(real_points_only, value_of_padding))


def test_padded_rows_take_part_in_the_statistics_of_hard_voxels_only() -> None:
    hard, dynamic = (vfe(name).train() for name in ("PillarVFE", "DynPillarVFE"))
    points, num_points = cloud(40)
    num_pillars = len(hard(points, num_points)[1])
    dynamic(points, num_points)
    share_of_real_rows = 80 / (num_pillars * MAX_POINTS)
    means = [encoder.pfn_layers[0].norm.running_mean for encoder in (hard, dynamic)]
    torch.testing.assert_close(means[0], means[1] * share_of_real_rows)


@both
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_points", [0, 1])
def test_frames_of_zero_or_one_point_leave_the_statistics_finite(name: str, training: bool, num_points: int) -> None:
    encoder = vfe(name, NUM_FILTERS=(16, 8)).train(training)
    features, coords = encoder(torch.zeros(1, 4, 5), torch.tensor([num_points]))
    assert features.shape == (num_points, 8)
    assert coords.shape == (num_points, 3)
    assert features.isfinite().all()
    features.sum().backward()
    for layer in encoder.pfn_layers:
        assert layer.norm.running_mean.isfinite().all()
        assert layer.norm.running_var.isfinite().all()
        assert layer.linear.weight.grad.isfinite().all()


@both
def test_gradients_reach_every_parameter_and_are_those_of_float64_differences(name: str) -> None:
    encoder = vfe(name, NUM_FILTERS=(12, 6)).double().eval()
    points, num_points = cloud(12)
    points = points.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: encoder(p, num_points)[0], (points,))
    encoder(points, num_points)[0].square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in encoder.parameters())


@both
def test_autocast_does_not_round_coordinates(name: str) -> None:
    encoder = vfe(name).eval()
    points, num_points = cloud(40)
    expected, _ = encoder(points, num_points)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, _ = encoder(points, num_points)
    assert torch.equal(features, expected)
