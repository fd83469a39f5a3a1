"""A training run: its folder, its loaders, Lightning's trainer."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from rich.console import Console
from torch.utils.data import DataLoader, Subset

from remembev.config import Config, config_from_yaml, config_to_yaml
from remembev.data import ClipSampler, build_seq_loader, collate_seq
from remembev.data.collate import Clip
from remembev.distributed import torchrun_env
from remembev.errors import UserError
from remembev.files import atomic_write, discard_leftovers
from remembev.models import TemporalPointPillar, load_pretrained, save_checkpoint
from remembev.precision import resolve_precision, warn_of_slow_bf16
from remembev.training.averaging import AveragedWeights
from remembev.training.module import ClipModule
from remembev.training.pretrain import pretrain_config
from remembev.training.progress import TrainingLines
from remembev.training.resuming import AtomicCheckpoints, Progress, SaveProgress, SeedSteps, restore_curves

logger = logging.getLogger(__name__)

_LOG_EVERY = 5
_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class TrainingRun:
    """Files of a run in its folder ``out``."""

    out: Path

    @property
    def config(self) -> Path:
        """The run's configuration."""
        return self.out / "config.yaml"

    @property
    def weights(self) -> Path:
        """The latest weights with their configuration, for evaluation and streaming."""
        return self.out / "model.safetensors"

    @property
    def initial_weights(self) -> Path:
        """The weights before the first step."""
        return self.out / "initial.safetensors"

    @property
    def pretrain(self) -> TrainingRun:
        """The run's pretraining (``OPTIMIZATION.PRETRAIN``)."""
        return TrainingRun(self.out / "start")

    @property
    def finished(self) -> bool:
        """True if the run is complete."""
        return (self.out / "finished").is_file()

    @property
    def resume_from(self) -> Path:
        """Lightning's latest checkpoint."""
        return self.out / "checkpoints" / "last.ckpt"

    @property
    def curves(self) -> Path:
        """The table of logged values."""
        return self.out / "logs" / "metrics.csv"


class WriteWeights(Callback):
    """Write the weights with their configuration before the first step and after every epoch, from one process.

    Args:
        run: The run.
        average: The moving average to write, if the run has one.
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
    """Train a configuration.

    Args:
        cfg: The configuration.
        data: Root of the data set, in nuScenes format.
        out: Folder for weights, curves and checkpoints.
        resume: Resume the run in ``out``, if there is one. On a CPU the result is the same to the last bit.
        seed: Seed of all random numbers.
        devices: Number of processes, each on a GPU if there are any. Under torchrun its processes are used.
        workers: Loader processes per device; None: ``OPTIMIZATION.NUM_WORKERS``.
        init: Checkpoint whose weights are loaded where names match. None: run ``OPTIMIZATION.PRETRAIN`` first, if
            set, in a folder in ``out``.

    Raises:
        UserError: If ``out`` already holds a run and ``resume`` isn't set, or the run differs in configuration, seed
            or number of processes.
    """
    run = TrainingRun(out)
    resumed = _resumed_progress(run, cfg, seed, resume)
    if run.finished:
        return run
    silence_lightning()

    # Open the data first, so that its errors come before pretraining
    workers = cfg.OPTIMIZATION.NUM_WORKERS if workers is None else workers
    _, train_loader = build_seq_loader(cfg, logger, workers, root_path=data, seed=seed)
    val_loader = _validation_loader(cfg, data)

    # Pretrain the detector without its memory
    pretrain = pretrain_config(cfg)
    if init is None and pretrain is not None:
        init = train(
            pretrain, data, run.pretrain.out, resume=resume, seed=seed, devices=devices, workers=workers
        ).weights
    if init is None and resumed is None and cfg.OPTIMIZATION.NORM_EVAL == 1:
        raise UserError(
            "OPTIMIZATION.NORM_EVAL freezes normalisation statistics, which fresh weights lack: "
            "pass --init or set OPTIMIZATION.PRETRAIN"
        )

    # Build the model and the trainer
    L.seed_everything(seed, verbose=False)
    module = ClipModule(cfg)
    if init is not None:
        load_pretrained(module.model, init)
    trainer = build_trainer(cfg, run, devices=devices, seed=seed, resumed=resumed)

    # Continue with the checkpoint's next clip, and with its curves
    if resumed is not None:
        if trainer.world_size != resumed.processes:
            raise UserError(f"{run.out} was started with {resumed.processes} processes, not {trainer.world_size}")
        assert isinstance(train_loader.sampler, ClipSampler)
        train_loader.sampler.set_epoch(resumed.epoch, resumed.batches * cfg.OPTIMIZATION.BATCH_SIZE_PER_GPU)
    if trainer.is_global_zero:
        discard_leftovers(run.out, run.resume_from.parent, run.curves.parent)
        with atomic_write(run.config) as temporary:
            temporary.write_text(config_to_yaml(cfg), encoding="utf-8")
        assert isinstance(trainer.logger, CSVLogger)
        restore_curves(trainer.logger, resumed.curves if resumed else "")

    # Train
    trainer.fit(module, train_loader, val_loader, ckpt_path=run.resume_from if resumed else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        (out / "finished").touch()
    trainer.strategy.barrier()  # others may read files that the first process writes last
    return run


def build_trainer(
    cfg: Config,
    run: TrainingRun,
    *,
    devices: int = 1,
    strategy: str = "ddp",
    seed: int = 0,
    resumed: Progress | None = None,
) -> L.Trainer:
    """Return Lightning's trainer for a configuration.

    Loaders are reloaded every epoch, since Lightning derives once per loading after how many batches it validates: it
    would not validate an epoch that is shorter than the one before.

    Args:
        cfg: The configuration.
        run: The run's files.
        devices: Number of processes.
        strategy: Lightning's strategy for several processes.
        seed: Seed of all random numbers.
        resumed: Progress of the run that is resumed.
    """
    plan = cfg.OPTIMIZATION
    accelerator = "gpu" if torch.cuda.is_available() else "cpu"
    device = torch.device("cuda" if accelerator == "gpu" else "cpu")
    precision = resolve_precision(plan.PRECISION, device)
    if precision == "bf16":
        warn_of_slow_bf16(device)
    env = torchrun_env(devices)
    devices, nodes = (devices, 1) if env is None else (env.local_world_size, env.num_machines)
    # Hide events of a killed run that are later than its checkpoint
    tensorboard = TensorBoardLogger(run.out, name="tensorboard", version="", purge_step=resumed.step if resumed else 0)
    log_every = min(_LOG_EVERY, plan.BATCHES_PER_EPOCH or _LOG_EVERY)
    average = None if plan.EMA is None else AveragedWeights(plan.EMA)
    return L.Trainer(
        max_epochs=plan.NUM_EPOCHS,
        limit_train_batches=plan.BATCHES_PER_EPOCH,
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy="auto" if devices * nodes == 1 else strategy + "_find_unused_parameters_true" * _has_lone_frames(cfg),
        precision=_PRECISIONS[precision],  # type: ignore[arg-type]
        logger=[CSVLogger(run.out, name="logs", version=""), tensorboard],
        log_every_n_steps=log_every,
        callbacks=[
            *([] if average is None else [average]),
            WriteWeights(run, average),
            *([] if Console(stderr=True).is_terminal else [TrainingLines(_describe_steps(cfg))]),
            SeedSteps(seed),
            SaveProgress(run.resume_from, run.curves, seed=seed, every=plan.SAVE_EVERY, log_every=log_every),
        ],
        plugins=[AtomicCheckpoints()],
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )


def _describe_steps(cfg: Config) -> str:
    frames = cfg.DATA_CONFIG.SEQ_LEN
    return f"Training on clips of {frames} frames, step" if frames > 1 else "Training on single frames, step"


def _has_lone_frames(cfg: Config) -> bool:
    """Return True if a chunk is a single frame: nothing reads what it writes, so that some weights get no gradient."""
    frames = cfg.DATA_CONFIG.SEQ_LEN
    chunk = min(cfg.OPTIMIZATION.TBPTT_FRAMES or frames, frames)
    return chunk == 1 or frames % chunk == 1


def silence_lightning() -> None:
    """Hide Lightning's information messages, and warnings that don't apply here."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")  # Lightning's own use of torch's pytree
    # The configuration sets the number of workers
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    warnings.filterwarnings("ignore", message="The combination of `DataLoader")
    # The sampler starts at the checkpoint's position
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")
    warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty")


def _resumed_progress(run: TrainingRun, cfg: Config, seed: int, resume: bool) -> Progress | None:
    """Return the progress of the run in a folder, after checking that it can be resumed; None without a checkpoint."""
    if not run.resume_from.is_file():
        return None
    if not resume:
        raise UserError(f"{run.out} already holds a run: pass --resume or choose another --out")
    if config_from_yaml(run.config.read_text(encoding="utf-8"), name=str(run.config)) != cfg:
        raise UserError(f"{run.config} differs from the given configuration; resuming needs the same one")
    progress = Progress.read(run.resume_from)
    if progress.seed != seed:
        raise UserError(f"{run.out} was started with seed {progress.seed}, not {seed}; resuming needs the same seed")
    return progress


def _validation_loader(cfg: Config, data: Path) -> DataLoader[Clip]:
    """Return a loader of VAL_CLIPS clips spread evenly over the test split, of all clips if it has fewer."""
    dataset, _ = build_seq_loader(cfg, logger, 0, training=False, root_path=data)
    count = min(cfg.OPTIMIZATION.VAL_CLIPS, len(dataset))
    indices = [round(i * (len(dataset) - 1) / max(1, count - 1)) for i in range(count)]
    return DataLoader(Subset(dataset, indices), batch_size=1, collate_fn=collate_seq)
