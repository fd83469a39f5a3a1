"""One training run: its folder, its loaders, Lightning's trainer, and what is left on disk."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader, Subset

from remembev.config import Config, config_from_yaml, config_to_yaml
from remembev.data import ClipSampler, build_seq_loader, collate_seq
from remembev.data.collate import Clip
from remembev.distributed import torchrun_env
from remembev.errors import UserError
from remembev.files import atomic_write, discard_leftovers
from remembev.models import TemporalPointPillar, load_pretrained, save_checkpoint
from remembev.training.averaging import AveragedWeights
from remembev.training.module import ClipModule
from remembev.training.pretrain import pretrain_config
from remembev.training.resuming import AtomicCheckpoints, Progress, SaveProgress, SeedSteps, restore_curves

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
    def pretrain(self) -> TrainingRun:
        """Its pretraining, if its configuration has one."""
        return TrainingRun(self.out / "start")

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return (self.out / "finished").is_file()

    @property
    def resume_from(self) -> Path:
        """Lightning's latest checkpoint."""
        return self.out / "checkpoints" / "last.ckpt"

    @property
    def curves(self) -> Path:
        """The logged values."""
        return self.out / "logs" / "metrics.csv"


class WriteWeights(Callback):
    """Writes the weights with their configuration, from one process: before the first step, and after every epoch.

    average  whose weights are the run's, if it has one
    """

    def __init__(self, run: TrainingRun, average: AveragedWeights | None = None) -> None:
        self.run = run
        self.average = average

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the initial weights, unless the run is resumed."""
        if trainer.global_step == 0 and trainer.is_global_zero:
            save_checkpoint(self.run.initial_weights, _model(pl_module))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the latest weights."""
        if trainer.is_global_zero:
            save_checkpoint(self.run.weights, self.average.model if self.average else _model(pl_module))


def _model(pl_module: L.LightningModule) -> TemporalPointPillar:
    assert isinstance(pl_module, ClipModule)
    return pl_module.model


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

    resume    go on where ``out`` was stopped, if it holds a run: to the last bit as if it hadn't been, on a CPU
    devices   processes, on as many GPUs if there are any; under torchrun the processes are torchrun's
    init      a checkpoint to start from: its weights where the model has them by name, fresh ones elsewhere; without
              one, ``OPTIMIZATION.PRETRAIN`` is trained first, in a folder in ``out``

    Raises UserError if ``out`` holds a run and ``resume`` isn't set, or holds one that was begun differently.
    """
    run = TrainingRun(out)
    begun = _begun(run, cfg, seed, resume)
    if run.finished:
        return run
    silence_lightning()
    workers = cfg.OPTIMIZATION.NUM_WORKERS if workers is None else workers
    _, train_loader = build_seq_loader(cfg, logger, workers, root_path=data, seed=seed)
    val_loader = _validation_loader(cfg, data)
    pretrain = pretrain_config(cfg)
    if init is None and pretrain is not None:  # not before the clips are known to be there
        init = train(
            pretrain, data, run.pretrain.out, resume=resume, seed=seed, devices=devices, workers=workers
        ).weights
    if init is None and begun is None and cfg.OPTIMIZATION.NORM_EVAL:
        raise UserError(
            "OPTIMIZATION.NORM_EVAL holds the statistics of other weights: give --init or OPTIMIZATION.PRETRAIN"
        )
    L.seed_everything(seed, verbose=False)
    module = ClipModule(cfg)
    if init is not None:
        load_pretrained(module.model, init)
    trainer = build_trainer(cfg, run, devices=devices, seed=seed, begun=begun)
    if begun is not None:
        if trainer.world_size != begun.processes:
            raise UserError(f"{run.out} was begun with {begun.processes} processes, not with {trainer.world_size}")
        assert isinstance(train_loader.sampler, ClipSampler)
        train_loader.sampler.set_epoch(begun.epoch, begun.batches * cfg.OPTIMIZATION.BATCH_SIZE_PER_GPU)
    if trainer.is_global_zero:
        discard_leftovers(run.out, run.resume_from.parent, run.curves.parent)
        with atomic_write(run.config) as temporary:
            temporary.write_text(config_to_yaml(cfg), encoding="utf-8")
        assert isinstance(trainer.logger, CSVLogger)
        restore_curves(trainer.logger, begun.curves if begun else "")
    trainer.fit(module, train_loader, val_loader, ckpt_path=run.resume_from if begun else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        (out / "finished").touch()
    trainer.strategy.barrier()  # what the first process wrote last, others may be about to read
    return run


def build_trainer(
    cfg: Config,
    run: TrainingRun,
    *,
    devices: int = 1,
    strategy: str = "ddp",
    seed: int = 0,
    begun: Progress | None = None,
) -> L.Trainer:
    """Lightning's trainer for a configuration; ``strategy`` is that of several devices, ``begun`` where a run goes on.

    The loaders are asked for anew every epoch: Lightning works out once a loading after how many batches it validates,
    and an epoch that turned out shorter would go without.
    """
    plan = cfg.OPTIMIZATION
    env = torchrun_env(devices)
    devices, nodes = (devices, 1) if env is None else (env.local_world_size, env.num_machines)
    # Events that a run which was killed has written after its checkpoint are hidden from the step on where it goes on.
    tensorboard = TensorBoardLogger(run.out, name="tensorboard", version="", purge_step=begun.step if begun else 0)
    log_every = min(_LOG_EVERY, plan.BATCHES_PER_EPOCH or _LOG_EVERY)
    average = None if plan.EMA is None else AveragedWeights(plan.EMA)
    return L.Trainer(
        max_epochs=plan.NUM_EPOCHS,
        limit_train_batches=plan.BATCHES_PER_EPOCH,
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=devices,
        num_nodes=nodes,
        strategy="auto" if devices * nodes == 1 else strategy + "_find_unused_parameters_true" * _has_lone_frames(cfg),
        precision=_PRECISIONS[resolve_precision(plan.PRECISION)],  # type: ignore[arg-type]
        logger=[CSVLogger(run.out, name="logs", version=""), tensorboard],
        log_every_n_steps=log_every,
        callbacks=[
            *([] if average is None else [average]),
            WriteWeights(run, average),
            SeedSteps(seed),
            SaveProgress(run.resume_from, run.curves, seed=seed, every=plan.SAVE_EVERY, log_every=log_every),
        ],
        plugins=[AtomicCheckpoints()],
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )


def _has_lone_frames(cfg: Config) -> bool:
    """Whether a chunk is a single frame: nothing reads what that one writes, and the weights that write stay idle."""
    frames = cfg.DATA_CONFIG.SEQ_LEN
    chunk = min(cfg.OPTIMIZATION.TBPTT_FRAMES or frames, frames)
    return chunk == 1 or frames % chunk == 1


def silence_lightning() -> None:
    """Keep Lightning from saying what nobody asked."""
    for chatty in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")  # Lightning's own, about torch's pytree
    # How many workers read is the configuration's to say; ours stay from epoch to epoch, since the loader is the same.
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    warnings.filterwarnings("ignore", message="The combination of `DataLoader")
    # The loader's sampler starts where it is told to.
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")
    warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty")


def resolve_precision(precision: str) -> str:
    """What ``auto`` means on this machine: bf16 or fp16 on a GPU, fp32 on a CPU; anything else is taken as it is."""
    if precision != "auto":
        return precision
    if not torch.cuda.is_available():
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _begun(run: TrainingRun, cfg: Config, seed: int, resume: bool) -> Progress | None:
    """How far the run is that a folder holds, which has to be the one that is asked for; None without a checkpoint."""
    if not run.resume_from.is_file():
        return None
    if not resume:
        raise UserError(f"{run.out} holds a run already: resume it, or give another folder")
    if config_from_yaml(run.config.read_text(encoding="utf-8"), name=str(run.config)) != cfg:
        raise UserError(f"{run.config} differs from the configuration given: to resume needs the same one")
    begun = Progress.read(run.resume_from)
    if begun.seed != seed:
        raise UserError(f"{run.out} was begun with seed {begun.seed}, not {seed}: to resume needs the same one")
    return begun


def _validation_loader(cfg: Config, data: Path) -> DataLoader[Clip]:
    """Clips of the test split, at most VAL_CLIPS of them, spread evenly over it."""
    dataset, _ = build_seq_loader(cfg, logger, 0, training=False, root_path=data)
    count = min(cfg.OPTIMIZATION.VAL_CLIPS, len(dataset))
    chosen = [round(i * (len(dataset) - 1) / max(1, count - 1)) for i in range(count)]
    return DataLoader(Subset(dataset, chosen), batch_size=1, collate_fn=collate_seq)
