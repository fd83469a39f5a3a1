"""The model as Lightning trains it: clips back-propagated a chunk at a time, AdamW, one cycle.

Lightning's manual optimisation: a clip is one step of the optimiser, however many backward passes it takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import LRScheduler

from remembev.config import Config
from remembev.models import build_model

_FINAL_DIV_FACTOR = 1e4
"""One cycle ends at this fraction of the learning rate it began with, as in OpenPCDet's schedule."""


class ClipModule(L.LightningModule):
    """Trains a ``TemporalPointPillar`` on clips."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.cfg = cfg
        self.model = build_model(cfg)

    def on_train_start(self) -> None:
        """Hold the running statistics, where the configuration says so."""
        if self.cfg.OPTIMIZATION.NORM_EVAL:
            for norm in self.modules():
                if isinstance(norm, _BatchNorm):
                    norm.eval()

    def training_step(self, batch_seq: Mapping[str, Any], batch_idx: int) -> Tensor:
        """One step of the optimiser. Returns the loss [] of a batch of clips, the mean over their frames."""
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer)
        assert isinstance(schedule, LRScheduler)
        optimizer.zero_grad()
        losses = self._back_propagate(batch_seq)
        self.log("train/loss", losses["loss"], prog_bar=True)
        self._log_losses("train", losses, batch_seq)
        self.log("lr", optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
        self._share_statistics()
        return losses["loss"]

    def _back_propagate(self, batch_seq: Mapping[str, Any]) -> dict[str, Tensor]:
        """Gradients of the loss of a batch of clips, a chunk at a time. Returns the losses."""
        cfg, shares = self.cfg.OPTIMIZATION, []
        for share in self.model.chunk_losses(
            batch_seq,
            self.progress,
            tbptt_frames=cfg.TBPTT_FRAMES,
            activation_checkpointing=cfg.ACTIVATION_CHECKPOINTING,
        ):
            # Lightning runs the whole step under autocast: what is exact on the way forward must be on the way back.
            with torch.autocast(self.device.type, enabled=False):
                self.manual_backward(share["loss"])
            shares.append({name: value.detach() for name, value in share.items()})
        return {name: torch.stack([share[name] for share in shares]).sum() for name in shares[0]}

    @torch.no_grad()
    def _share_statistics(self) -> None:
        """Running statistics of batch normalisation become the means of the processes', which see different clips.

        In manual optimisation DistributedDataParallel takes nobody's: each process would go on with its own.
        """
        if self.trainer.world_size == 1:
            return
        names = ("running_mean", "running_var")
        statistics = [buffer for name, buffer in self.model.named_buffers() if name.endswith(names)]
        mean = self.trainer.strategy.reduce(torch.cat(statistics), reduce_op="mean")
        assert isinstance(mean, Tensor)
        for own, shared in zip(statistics, torch.split(mean, [len(own) for own in statistics]), strict=True):
            own.copy_(shared)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradients, which by now are no longer scaled."""
        clip = self.cfg.OPTIMIZATION.GRAD_NORM_CLIP
        self.clip_gradients(optimizer, gradient_clip_val=clip, gradient_clip_algorithm="norm")

    def validation_step(self, batch_seq: Mapping[str, Any], batch_idx: int) -> None:
        """The same loss on clips of the test split, every cell of the occupancy counted alike over the whole run."""
        losses = self.model.clip_losses(batch_seq, progress=0.0)
        self.log("val/loss", losses["loss"], prog_bar=True, batch_size=len(batch_seq["points"]), sync_dist=True)
        self._log_losses("val", losses, batch_seq)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW and one cycle of learning rate and momentum, a step of the schedule a batch."""
        cfg = self.cfg.OPTIMIZATION
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=cfg.LR, betas=(cfg.MOMS[0], 0.99), weight_decay=cfg.WEIGHT_DECAY
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=cfg.LR,
            total_steps=self._total_steps,
            pct_start=cfg.PCT_START,
            div_factor=cfg.DIV_FACTOR,
            final_div_factor=_FINAL_DIV_FACTOR,
            max_momentum=cfg.MOMS[0],
            base_momentum=cfg.MOMS[1],
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    @property
    def progress(self) -> float:
        """Share of the training that is done, 0 to 1."""
        return min(1.0, self.global_step / self._total_steps)

    @property
    def _total_steps(self) -> int:
        return max(1, int(self.trainer.estimated_stepping_batches))

    def _log_losses(self, stage: str, losses: dict[str, Tensor], batch_seq: Mapping[str, Any]) -> None:
        parts = {f"{stage}/{name}": value for name, value in losses.items() if name != "loss"}
        self.log_dict(parts, batch_size=len(batch_seq["points"]), sync_dist=stage == "val")
