import pytest
import torch

from remembev.config.schema import BackboneConfig
from remembev.models import BaseBEVBackbone


def backbone(upsample: tuple[float, ...] = (0.5, 1, 2), layers: tuple[int, ...] = (1, 0, 2)) -> BaseBEVBackbone:
    torch.manual_seed(0)
    cfg = BackboneConfig(
        LAYER_NUMS=layers,
        LAYER_STRIDES=(2, 2, 2),
        NUM_FILTERS=(4, 6, 8),
        UPSAMPLE_STRIDES=upsample,
        NUM_UPSAMPLE_FILTERS=(3, 4, 5),
    )
    return BaseBEVBackbone(cfg, 7)


@pytest.mark.parametrize(("upsample", "stride"), [((0.5, 1, 2), 4), ((1, 2, 4), 2), ((0.25, 0.5, 1), 8)])
def test_all_blocks_are_resampled_to_one_map(upsample: tuple[float, ...], stride: int) -> None:
    features = backbone(upsample)(torch.rand(2, 7, 32, 16))
    assert features.shape == (2, 12, 32 // stride, 16 // stride)


def test_a_block_has_one_strided_and_the_given_number_of_further_convolutions() -> None:
    convs = [[m for m in block if isinstance(m, torch.nn.Conv2d)] for block in backbone().blocks]
    assert [len(block) for block in convs] == [2, 1, 3]
    assert all([conv.stride for conv in block] == [(2, 2)] + [(1, 1)] * (len(block) - 1) for block in convs)


def test_a_cell_s_receptive_field_is_around_its_place() -> None:
    bev = torch.rand(1, 7, 64, 64, requires_grad=True)
    features = backbone(layers=(0, 0, 0)).eval()(bev)
    features[0, :, 10, 4].sum().backward()
    assert bev.grad is not None
    rows, columns = bev.grad.abs().sum(dim=(0, 1)).nonzero().unbind(dim=1)
    assert (rows.min().item(), rows.max().item()) == (33, 47)
    assert (columns.min().item(), columns.max().item()) == (9, 23)


def test_gradients_reach_every_parameter() -> None:
    model = backbone()
    model(torch.rand(2, 7, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
