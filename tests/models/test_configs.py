import pytest
import torch

from remembev.config import load_config
from remembev.models import AnchorHeadMulti, BaseBEVBackbone, build_vfe
from remembev.ops import scatter_pillars


def detector(name: str, *overrides: str) -> tuple[torch.nn.ModuleDict, object]:
    cfg = load_config(name, overrides)
    vfe = build_vfe(cfg.MODEL.VFE, cfg.DATA_CONFIG)
    backbone = BaseBEVBackbone(cfg.MODEL.BACKBONE_2D, vfe.num_features)
    head = AnchorHeadMulti(cfg.MODEL.DENSE_HEAD, cfg.CLASS_NAMES, backbone.num_bev_features, cfg.feature_grid)
    return torch.nn.ModuleDict({"vfe": vfe, "backbone_2d": backbone, "dense_head": head}), cfg


def test_the_nuscenes_model_without_its_memory_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        modules, _ = detector(
            "nuscenes", "MODEL.DENSE_HEAD.HEADING_CODE=sincos", "MODEL.DENSE_HEAD.USE_DIRECTION_CLASSIFIER=false"
        )
    assert sum(parameter.numel() for parameter in modules.parameters()) == 6_078_636
    # Of the 421 published tensors, one is a step counter, and each head holds its labels where ours holds the order of
    # its box channels.
    assert len(modules.state_dict()) == 421 - 1


@pytest.mark.parametrize(("name", "reach"), [("tiny", 10.0), ("nuscenes", 6.4)])
@pytest.mark.parametrize("vfe", ["PillarVFE", "DynPillarVFE"])
def test_every_shipped_model_goes_forward_and_backward_on_a_small_range(name: str, reach: float, vfe: str) -> None:
    modules, cfg = detector(
        name,
        f"MODEL.VFE.NAME={vfe}",
        f"DATA_CONFIG.POINT_CLOUD_RANGE=[{-reach}, {-reach}, -5.0, {reach}, {reach}, 3.0]",
    )
    points = torch.rand(1, 200, 5) * torch.tensor([12.0, 12, 3, 1, 0]) - torch.tensor([6.0, 6, 2, 0, 0])
    pillars, coords = modules["vfe"](points, torch.tensor([200]))
    bev = scatter_pillars(pillars, coords, 1, cfg.DATA_CONFIG.pillar_grid)
    spatial_features_2d = modules["backbone_2d"](bev)
    grid = cfg.feature_grid
    assert spatial_features_2d.shape == (1, cfg.MODEL.BACKBONE_2D.num_bev_features, grid.height, grid.width)
    head = modules["dense_head"]
    boxes = torch.tensor([[[1.0, 2.0, -1.0, 4.6, 1.9, 1.7, 0.3, 1.0, 0.0]]])
    losses = head.loss(head(spatial_features_2d), boxes, torch.tensor([[0]]), torch.tensor([[9]]), torch.zeros(1, 1))
    torch.stack(list(losses.values())).sum().backward()
    for key, parameter in modules.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
