"""One training run: its folder, its loaders, Lightning's trainer, and what is left on disk."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch.utils.data import DataLoader, Subset

from remembev.config import Config, config_to_yaml
from remembev.data import build_seq_loader, collate_seq
from remembev.data.collate import Clip
from remembev.errors import UserError
from remembev.files import replacing
from remembev.models import save_checkpoint, start_from
from remembev.training.module import ClipModule

logger = logging.getLogger(__name__)

_LOG_EVERY = 5
_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class TrainingRun:
    """Where a run keeps its files."""

    out: Path

    @property
    def config(self) -> Path:
        """The configuration it was started with."""
        return self.out / "config.yaml"

    @property
    def weights(self) -> Path:
        """The latest weights, with their configuration: what evaluation and streaming load."""
        return self.out / "model.safetensors"

    @property
    def initial_weights(self) -> Path:
        """The weights before the first step."""
        return self.out / "initial.safetensors"

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return (self.out / "finished").is_file()

    @property
    def resume_from(self) -> Path:
        """Lightning's checkpoint of the last whole epoch."""
        return self.out / "checkpoints" / "last.ckpt"

    @property
    def curves(self) -> list[Path]:
        """The logged values, a file for each time the run was started."""
        return sorted(self.out.glob("logs/*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[-1]))


class WriteWeights(Callback):
    """Writes the weights with their configuration, from one process: before the first step, and after every epoch."""

    def __init__(self, run: TrainingRun) -> None:
        self.run = run

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the initial weights, unless the run is resumed."""
        if trainer.global_step == 0:
            self._write(trainer, pl_module, self.run.initial_weights)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the latest weights."""
        self._write(trainer, pl_module, self.run.weights)

    @staticmethod
    def _write(trainer: L.Trainer, pl_module: L.LightningModule, path: Path) -> None:
        if trainer.is_global_zero and isinstance(pl_module, ClipModule):
            save_checkpoint(path, pl_module.model)


class SeedSteps(Callback):
    """Seeds anew before every epoch and after every batch, by the run's seed and their number.

    Which clips a step draws, and how they are augmented, then does not depend on the model, which draws as well: runs
    of different models with one seed see the same.
    """

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the run's seed, which the making of the model has drawn from, and begin again with it."""
        self.seed = torch.initial_seed()
        self._seed(0, 0)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Seed the order of the clips, and the augmentation of the first."""
        self._seed(trainer.current_epoch, 0)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Seed what the next step draws."""
        self._seed(trainer.current_epoch, batch_idx + 1)

    def _seed(self, epoch: int, batch: int) -> None:
        torch.manual_seed(((self.seed * 1_000_003 + epoch) * 1_000_003 + batch) % 2**63)


def train(
    cfg: Config,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    seed: int = 0,
    devices: int = 1,
    workers: int | None = None,
    init: Path | None = None,
) -> TrainingRun:
    """Train a configuration on a nuScenes root; weights, curves and checkpoints go to ``out``.

    resume    go on from the last whole epoch of ``out``, if there is one
    devices   processes, on as many GPUs if there are any (torch.distributed through Lightning)
    init      a checkpoint to start from: its weights where the model has them by name, fresh ones elsewhere

    Raises UserError if ``out`` holds a run and ``resume`` isn't set, or holds one of another configuration.
    """
    run = TrainingRun(out)
    _check(run, cfg, resume)
    quieten_lightning()
    L.seed_everything(seed, workers=True, verbose=False)
    workers = cfg.OPTIMIZATION.NUM_WORKERS if workers is None else workers
    _, train_loader = build_seq_loader(cfg, logger, workers, root_path=data, seed=seed)
    val_loader = _validation_loader(cfg, data)
    module = ClipModule(cfg)
    if init is not None:
        start_from(module.model, init)
    with replacing(run.config) as temporary:
        temporary.write_text(config_to_yaml(cfg), encoding="utf-8")
    trainer = build_trainer(cfg, run, devices=devices)
    trainer.fit(
        module,
        train_loader,
        val_loader,
        ckpt_path=run.resume_from if run.resume_from.is_file() else None,
        weights_only=True,
    )
    if trainer.interrupted:
        raise KeyboardInterrupt
    (out / "finished").touch()
    return run


def build_trainer(cfg: Config, run: TrainingRun, *, devices: int = 1, strategy: str = "ddp") -> L.Trainer:
    """Lightning's trainer for a configuration; ``strategy`` is that of several devices.

    The loaders are asked for anew every epoch: Lightning works out once a loading after how many batches it validates,
    and an epoch that turned out shorter would go without.
    """
    loggers: list[Logger] = [CSVLogger(run.out, name="logs"), TensorBoardLogger(run.out, name="tensorboard")]
    return L.Trainer(
        max_epochs=cfg.OPTIMIZATION.NUM_EPOCHS,
        limit_train_batches=cfg.OPTIMIZATION.BATCHES_PER_EPOCH,
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=devices,
        strategy="auto" if devices == 1 else strategy + "_find_unused_parameters_true" * _has_lone_frames(cfg),
        precision=_PRECISIONS[resolve_precision(cfg.OPTIMIZATION.PRECISION)],  # type: ignore[arg-type]
        logger=loggers,
        log_every_n_steps=min(_LOG_EVERY, cfg.OPTIMIZATION.BATCHES_PER_EPOCH or _LOG_EVERY),
        callbacks=[
            ModelCheckpoint(run.resume_from.parent, filename="last", enable_version_counter=False),
            WriteWeights(run),
            SeedSteps(),
        ],
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )


def _has_lone_frames(cfg: Config) -> bool:
    """Whether a chunk is a single frame: nothing reads what that one writes, and the weights that write stay idle."""
    frames = cfg.DATA_CONFIG.SEQ_LEN
    chunk = min(cfg.OPTIMIZATION.CHUNK or frames, frames)
    return chunk == 1 or frames % chunk == 1


def quieten_lightning() -> None:
    """Keep Lightning from saying what nobody asked."""
    for chatty in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")  # Lightning's own, about torch's pytree


def resolve_precision(precision: str) -> str:
    """What ``auto`` means on this machine: bf16 or fp16 on a GPU, fp32 on a CPU; anything else is taken as it is."""
    if precision != "auto":
        return precision
    if not torch.cuda.is_available():
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _check(run: TrainingRun, cfg: Config, resume: bool) -> None:
    """Whether the run may start: its folder holds no epoch yet, or is to be gone on with as it was begun."""
    if not run.resume_from.is_file():
        return
    if not resume:
        raise UserError(f"{run.out} holds a run already: resume it, or give another folder")
    if run.config.read_text(encoding="utf-8") != config_to_yaml(cfg):
        raise UserError(f"{run.config} differs from the configuration given: to resume needs the same one")


def _validation_loader(cfg: Config, data: Path) -> DataLoader[Clip]:
    """Clips of the test split, at most VAL_CLIPS of them, spread evenly over it."""
    dataset, _ = build_seq_loader(cfg, logger, 0, training=False, root_path=data)
    count = min(cfg.OPTIMIZATION.VAL_CLIPS, len(dataset))
    chosen = [round(i * (len(dataset) - 1) / max(1, count - 1)) for i in range(count)]
    return DataLoader(Subset(dataset, chosen), batch_size=1, collate_fn=collate_seq)
