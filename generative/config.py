"""The typed configuration of one training run. Presets are instances of `TrainConfig`; flags come from its fields."""

import json
import types
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal

from generative.data.config import DataConfig
from generative.models import ModelConfig
from generative.papers.progressive_distillation import DiffusionConfig
from generative.papers.vdm import VDMConfig

Device = Literal["auto", "cpu", "cuda"]
T = typing.TypeVar("T")


def positive(owner: object, *names: str) -> None:
    """Raises ValueError if a field is not positive and finite."""
    for name in names:
        if not 0 < getattr(owner, name) < float("inf"):  # NaN fails too
            raise ValueError(f"{name} must be positive and finite, got {getattr(owner, name)}")


def not_negative(owner: object, *names: str) -> None:
    """Raises ValueError if a field is negative or not finite."""
    for name in names:
        if not 0 <= getattr(owner, name) < float("inf"):
            raise ValueError(f"{name} must be finite and not negative, got {getattr(owner, name)}")


def at_most(owner: object, limit: int, *names: str) -> None:
    """Raises ValueError if a field is larger than anything that a machine could do."""
    for name in names:
        if (getattr(owner, name) or 0) > limit:
            raise ValueError(f"{name} must be at most {limit:,}, got {getattr(owner, name):,}")


@dataclass(frozen=True, kw_only=True)
class OptimSettings:
    """AdamW, the moving average of the weights, and precision."""

    batch: int = 128
    """Pictures per optimiser step, over all workers."""
    micro_batches: int = 1
    """Each worker cuts its share into this many forward passes (gradient accumulation)."""
    learning_rate: float = 2e-4
    """Step size after the warm-up."""
    schedule_learning_rate: float = 2e-3
    """Step size of a learned noise schedule."""
    decay: Literal["constant", "cosine", "linear"] = "constant"
    """After the warm-up: constant, half a cosine down to a hundredth at the last step, or a straight line to zero."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    beta1: float = 0.9
    beta2: float = 0.99
    adam_eps: float = 1e-8
    weight_decay: float = 0.01
    """On weights of two or more axes; never on biases and norms."""
    grad_clip: float | None = 1.0
    """Largest global norm of the network's gradient; off if None."""
    ema: float = 0.9999
    """Decay of the moving average of the weights per step, once warmed up."""
    ema_warmup: bool = True
    """The average starts short, with decay min(ema, (1 + step) / (10 + step)), so that it soon forgets the start."""
    bf16: bool = False
    """Run the network in bfloat16 (weights, loss and average stay float32). Slower on CPUs without matrix units."""
    compile: bool = False
    """Compile the network with torch.compile."""
    cuda_graphs: bool = False
    """With `compile`, on a GPU: record the network's kernels once and replay them together. A small network then does
    not wait for Python to start each of them."""
    channels_last: bool = False
    """Keep pictures and convolutions in channels-last memory."""

    def __post_init__(self) -> None:
        positive(self, "batch", "micro_batches", "learning_rate", "schedule_learning_rate", "adam_eps")
        at_most(self, 2**24, "batch", "micro_batches")
        not_negative(self, "warmup_steps", "weight_decay", "beta1", "beta2", "ema")
        if self.grad_clip is not None:
            positive(self, "grad_clip")
        if self.cuda_graphs and (not self.compile or self.micro_batches > 1):
            # The gradients of one forward pass lie where the next writes its own.
            raise ValueError("cuda_graphs needs compile, and micro_batches 1")
        if max(self.beta1, self.beta2, self.ema) >= 1:
            raise ValueError("beta1, beta2 and ema must be below 1")


def check_seed(owner: Any) -> None:
    """Raises ValueError for a `seed` that torch would not take."""
    not_negative(owner, "seed")
    if owner.seed >= 2**32:
        raise ValueError(f"seed must be below 2^32, got {owner.seed}")


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """What is measured and drawn on the way, and at the end."""

    interval_s: float = 60.0
    """Seconds of training between looks (bits per dimension on test pictures, samples); 0 means only at the end."""
    images: int = 256
    """Test pictures per look on the way."""
    final_images: int | None = None
    """Test pictures at the end; all if omitted."""
    times: int = 8
    """Noise levels per picture in an evaluation."""
    samples: int = 64
    """Pictures in a sample grid."""
    sample_steps: int = 64
    """Denoising steps per sample on the way and at the end."""
    seed: int | None = None
    """Of the noise of what is measured and drawn; the run's if omitted."""

    def __post_init__(self) -> None:
        not_negative(self, "interval_s")
        positive(self, "images", "times", "samples", "sample_steps")
        at_most(self, 2**16, "times", "samples", "sample_steps")
        if self.seed is not None:
            not_negative(self, "seed")
        if self.final_images is not None:
            positive(self, "final_images")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a training is carried out; what comes out does not depend on it, but for rounding."""

    workers: int = 1
    """Processes of data-parallel training."""
    threads: int | None = None
    """Threads per worker on a CPU; the machine's cores divided by the workers if omitted."""
    device: Device = "auto"
    max_restarts: int = 3
    """How often lost workers are replaced, each time going on from the newest checkpoint."""
    checkpoint_interval_s: float = 60.0
    """Seconds of training between checkpoints."""
    report_interval_s: float = 2.0
    """Seconds between points of the curves."""

    def __post_init__(self) -> None:
        positive(self, "workers", "checkpoint_interval_s", "report_interval_s")
        not_negative(self, "max_restarts")
        at_most(self, 2**16, "workers")
        if self.threads is not None:
            positive(self, "threads")
            at_most(self, 2**12, "threads")

    def execution(self) -> dict[str, Any]:
        """These fields alone."""
        return {part.name: getattr(self, part.name) for part in fields(Execution)}


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Execution):
    """A run: a model on a set of pictures."""

    model: ModelConfig = field(default_factory=VDMConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimSettings = field(default_factory=OptimSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)
    steps: int = 2000
    """Optimiser steps in all."""
    time_s: float | None = None
    """Stop after this many seconds of training, if sooner."""
    checkpoint_interval_steps: int | None = None
    """Steps between checkpoints, instead of seconds."""
    keep_checkpoints: int = 2
    storage: str | None = None
    """Where checkpoints go: a folder or a URL (s3://..., gs://...); the run folder's checkpoints/ if omitted."""
    seed: int = 0
    teacher: str | None = None
    """Run, checkpoint or folder of the model that this one starts from and learns from, instead of from pictures alone
    (generative/papers/progressive_distillation.py)."""

    def __post_init__(self) -> None:
        if self.teacher is not None and not isinstance(self.model, DiffusionConfig):
            raise ValueError(f"a model of {type(self.model).__name__} learns from pictures alone, it takes no teacher")
        super().__post_init__()
        positive(self, "steps", "keep_checkpoints")
        check_seed(self)
        for name in ("time_s", "checkpoint_interval_steps"):
            if getattr(self, name) is not None:
                positive(self, name)
        share = self.workers * self.optim.micro_batches
        if self.optim.batch % share:
            raise ValueError(
                f"optim.batch must be a multiple of workers x optim.micro_batches ({share}), got {self.optim.batch}"
            )


def to_json(config: Any) -> dict[str, Any]:
    """The configuration as plain data, as a JSON file gives it back."""
    return json.loads(json.dumps(asdict(config)))


def from_json(data: dict[str, Any]) -> TrainConfig:
    """The inverse of `to_json`. Raises ValueError naming the field that does not exist or fit."""
    return read(TrainConfig, data)


def read(cls: type[T], data: dict[str, Any]) -> T:
    """A configuration of any class from plain data. Raises ValueError naming the field that does not exist or fit."""
    return _read(cls, data, "")


def _read(cls: type, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise ValueError(f"{where or 'the configuration'} must be an object, got {data!r}")
    hints, known = typing.get_type_hints(cls), {f.name for f in fields(cls)}
    if odd := set(data) - known:
        raise ValueError(f"{cls.__name__} has no field {sorted(odd)[0]!r}")
    values = {}
    for name, value in data.items():
        parts = [part for part in _alternatives(hints[name]) if isinstance(part, type) and is_dataclass(part)]
        if value is None or not parts:
            if not _fits(value, hints[name]):
                raise ValueError(f"{where}{name} must be {_words(hints[name])}, got {value!r}")
            values[name] = value
        else:  # of several dataclasses, the one whose fields these are
            fit = [part for part in parts if isinstance(value, dict) and set(value) <= {f.name for f in fields(part)}]
            values[name] = _read((fit or parts)[0], value, f"{where}{name}.")
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: a field does not fit: {error}") from None


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value out of a JSON file is of a field's type; whole numbers are numbers too."""
    for kind in _alternatives(hint):
        origin = typing.get_origin(kind)
        if origin is Literal:
            fits = value in typing.get_args(kind)
        elif origin is tuple:
            fits = isinstance(value, (list, tuple)) and all(_fits(item, typing.get_args(kind)[0]) for item in value)
        elif kind in (int, float):
            fits = isinstance(value, (int, kind)) and not isinstance(value, bool)
        else:
            fits = isinstance(value, kind)
        if fits:
            return True
    return False


def _words(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
