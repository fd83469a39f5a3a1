"""Lightning module: truncated back-propagation through clips, AdamW, one cycle of the learning rate.

Optimisation is manual, since one optimiser step takes a backward pass per chunk of the clip.
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
"""Ratio of the initial learning rate to the final one, as in OpenPCDet."""


class ClipModule(L.LightningModule):
    """Training of a ``TemporalPointPillar`` on clips."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.cfg = cfg
        self.model = build_model(cfg)

    def on_train_batch_start(self, batch: Mapping[str, Any], batch_idx: int) -> None:
        """Freeze the running statistics of batch normalisation in the last steps (``NORM_EVAL``)."""
        if self.progress >= 1 - self.cfg.OPTIMIZATION.NORM_EVAL:
            for norm in self.modules():
                if isinstance(norm, _BatchNorm):
                    norm.eval()

    def training_step(self, batch_seq: Mapping[str, Any], batch_idx: int) -> Tensor:
        """Run one optimiser step on a batch of clips. Returns the loss [], the mean over their frames."""
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer)
        assert isinstance(schedule, LRScheduler)

        # Back-propagate the clips chunk by chunk
        optimizer.zero_grad()
        losses = self._back_propagate(batch_seq)

        # Log the losses and the learning rate
        self.log("train/loss", losses["loss"], prog_bar=True)
        self._log_losses("train", losses, batch_seq)
        self.log("lr", optimizer.param_groups[0]["lr"])

        # Update weights, learning rate and running statistics
        optimizer.step()
        schedule.step()
        self._share_statistics()
        return losses["loss"]

    def _back_propagate(self, batch_seq: Mapping[str, Any]) -> dict[str, Tensor]:
        """Accumulate the gradients of a batch of clips, chunk by chunk. Returns the losses of the clips."""
        cfg, losses_of_chunks = self.cfg.OPTIMIZATION, []
        for losses in self.model.chunk_losses(
            batch_seq,
            self.progress,
            tbptt_frames=cfg.TBPTT_FRAMES,
            activation_checkpointing=cfg.ACTIVATION_CHECKPOINTING,
        ):
            # Lightning runs the whole step under autocast; the backward pass has to be as exact as the forward pass.
            with torch.autocast(self.device.type, enabled=False):
                self.manual_backward(losses["loss"])
            losses_of_chunks.append({name: value.detach() for name, value in losses.items()})
        return {name: torch.stack([losses[name] for losses in losses_of_chunks]).sum() for name in losses_of_chunks[0]}

    @torch.no_grad()
    def _share_statistics(self) -> None:
        """Average the running statistics of batch normalisation over the processes.

        DistributedDataParallel doesn't synchronise them in manual optimisation.
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
        """Clip the gradients, which the loss scaler has unscaled by now."""
        clip = self.cfg.OPTIMIZATION.GRAD_NORM_CLIP
        self.clip_gradients(optimizer, gradient_clip_val=clip, gradient_clip_algorithm="norm")

    def validation_step(self, batch_seq: Mapping[str, Any], batch_idx: int) -> None:
        """Log the losses of a batch of clips of the test split.

        ``progress`` is 0 for the whole run, so that the occupancy loss always counts every cell.
        """
        losses = self.model.clip_losses(batch_seq, progress=0.0)
        self.log("val/loss", losses["loss"], prog_bar=True, batch_size=len(batch_seq["points"]), sync_dist=True)
        self._log_losses("val", losses, batch_seq)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return AdamW and one cycle of learning rate and momentum, stepped every batch."""
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
        """Share of the training's steps that are done, 0 to 1."""
        return min(1.0, self.global_step / self._total_steps)

    @property
    def _total_steps(self) -> int:
        return max(1, int(self.trainer.estimated_stepping_batches))

    def _log_losses(self, stage: str, losses: dict[str, Tensor], batch_seq: Mapping[str, Any]) -> None:
        parts = {f"{stage}/{name}": value for name, value in losses.items() if name != "loss"}
        self.log_dict(parts, batch_size=len(batch_seq["points"]), sync_dist=stage == "val")
