"""What a chain of students is made of: its configuration, and the training of each stage that follows from it."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from generative import config as configs
from generative import noise
from generative.chain_manifest import CONVERT, STAGES, TEACHER
from generative.config import Execution, OptimSettings, TrainConfig, WatchSettings, check_seed, positive
from generative.image_to_image import ImageToImage
from generative.model import PictureModel
from generative.papers.progressive_distillation import NOISE, DiffusionConfig, Weighting, stages

TRAINING, CONVERSION, STUDENT = 3, 4, 5
"""Forward passes for one picture of an optimiser step, a gradient being two: of training, of a conversion (its teacher
answers once), of a student (twice)."""


@dataclass(frozen=True, kw_only=True)
class ChainConfig(Execution):
    """A chain of students."""

    KIND: ClassVar[str] = "distill"
    """What a run folder's config.json says that it holds."""

    teacher: str = ""
    """Run, checkpoint or folder of the model that the chain starts from."""
    from_steps: int = 256
    """Steps of that model's sampler, which the first student halves."""
    to: int = 1
    """Steps of the last student."""
    updates: int | None = None
    """Optimiser steps of each student; if omitted, so many that the chain costs what its teacher's training did."""
    last_updates: int | None = None
    """Optimiser steps of the students with two steps and one, which have most to learn; twice `updates` if omitted."""
    convert_updates: int | None = None
    """Optimiser steps that turn a model of another prediction or schedule into one that can be distilled; a quarter of
    what the chain may cost if omitted."""
    optim: OptimSettings = field(
        default_factory=lambda: OptimSettings(
            batch=64, learning_rate=2e-4, decay="linear", warmup_steps=0, beta2=0.999, weight_decay=0.0, ema=0.0,
            ema_warmup=False,
        )
    )  # fmt: skip
    """Of each student. The paper has no moving average and a step size that falls to zero."""
    watch: WatchSettings = field(default_factory=lambda: WatchSettings(interval_s=0, images=256, final_images=256))
    data_path: str | None = None
    """Where the pictures lie now, for sets that are placed by hand; as in the teacher's training if omitted."""
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        stages(self.from_steps, self.to)
        check_seed(self)
        given = (name for name in ("updates", "last_updates", "convert_updates") if getattr(self, name) is not None)
        positive(self, *given)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One student's training."""

    name: str
    """Its steps with leading zeros, or "convert"."""
    folder: Path
    config: TrainConfig
    first: int
    """Optimiser steps of the stages before it."""

    @property
    def steps(self) -> int:
        """Steps of the student's sampler; 0 of a conversion."""
        assert isinstance(self.config.model, DiffusionConfig)
        return self.config.model.num_steps


def plan(config: ChainConfig, run: Path, teacher: PictureModel) -> list[Stage]:
    """The stages of a chain. Raises ValueError for a teacher that none of them could learn from."""
    base, found, first = configs.from_json(teacher.meta["config"]), [], 0
    if isinstance(teacher, ImageToImage):
        raise ValueError("a chain begins with a model of pictures alone; this one makes pictures of pictures")
    if teacher.taught_steps not in (0, config.from_steps):
        raise ValueError(
            f"the teacher takes {teacher.taught_steps} steps; --from-steps must be that, got {config.from_steps}"
        )
    model, before = teacher.config, run / TEACHER
    convert, each, last = updates_of(config, teacher)
    if convert:
        kept = isinstance(model, DiffusionConfig) and model.prediction != "eps"
        says = {"prediction": model.prediction, "weighting": weighting_of(model)} if kept else {}
        model = DiffusionConfig(net=replace(model.net, dropout=0.0), **says)
        # Its weights answer another question at first, so the first steps are small.
        slowly = replace(config, optim=replace(config.optim, warmup_steps=config.optim.warmup_steps or convert // 10))
        found.append(_stage(slowly, run, CONVERT, base, model, before, first, convert))
    for steps in stages(config.from_steps, config.to):
        net = replace(model.net, dropout=0.0)
        model = replace(model, num_steps=steps, net=net, weighting=weighting_of(model))
        before, first = (found[-1].folder, first + found[-1].config.steps) if found else (before, 0)
        updates = last if steps <= 2 else each
        found.append(_stage(config, run, f"{steps:06d}", base, model, before, first, updates))
    return found


def weighting_of(model: DiffusionConfig) -> Weighting:
    """That of a model's students: its own, unless that is SNR, which weighs nothing in pure noise."""
    return "truncated_snr" if model.weighting == "snr" else model.weighting


def share_of(config: ChainConfig, chain: list[Stage], teacher: PictureModel) -> float:
    """What a chain costs, as a share of what the training of its teacher did."""
    passes = sum(stage.config.steps * (STUDENT if stage.steps else CONVERSION) for stage in chain)
    trained = configs.from_json(teacher.meta["config"]).optim.batch * teacher.meta["step"]
    return config.optim.batch * passes / (trained * (STUDENT if teacher.taught_steps else TRAINING))


def updates_of(config: ChainConfig, teacher: PictureModel) -> tuple[int, int, int]:
    """Optimiser steps of the conversion (0 where none is needed), of a student, and of those with two steps and one.
    Raises ValueError if those that were given leave nothing for the others."""
    trained = configs.from_json(teacher.meta["config"]).optim.batch * teacher.meta["step"]
    left = trained * (STUDENT if teacher.taught_steps else TRAINING) / config.optim.batch
    convert = 0 if can_be_distilled(teacher) else config.convert_updates or max(1, int(left / 4 / CONVERSION))
    left = left - CONVERSION * convert
    students = stages(config.from_steps, config.to)
    few = sum(steps <= 2 for steps in students)
    if config.last_updates is not None:
        left, few = left - STUDENT * few * config.last_updates, -few
    each = config.updates or int(left / STUDENT / max(1, len(students) + few))
    if each < 1 and (config.last_updates or config.convert_updates) and len(students) + few > 0:
        raise ValueError("these updates leave nothing of what the teacher's training cost for the rest: give --updates")
    each = max(1, each)
    return convert, each, config.last_updates or 2 * each


def _stage(
    config: ChainConfig, run: Path, name: str, base: TrainConfig, model: DiffusionConfig, teacher: Path, first: int,
    updates: int,
) -> Stage:  # fmt: skip
    # Ray's stream begins anew after a fault: a chain that was killed would end elsewhere.
    data = replace(base.data, loader="map", path=config.data_path or base.data.path)
    same_noise = config.seed if config.watch.seed is None else config.watch.seed  # in the grids of all stages
    train_config = TrainConfig(
        model=model,
        data=data,
        optim=config.optim,
        watch=replace(config.watch, seed=same_noise),
        steps=updates,
        **config.execution(),
        seed=noise.mix(config.seed, model.num_steps) % 2**32,
        teacher=str(teacher.absolute()),
    )
    return Stage(name=name, folder=run / STAGES / name, config=train_config, first=first)


def can_be_distilled(teacher: PictureModel) -> bool:
    """Whether a model's answers mean something at every level from noise on: predictions of eps do not where hardly any
    signal is left, and a schedule must reach that far."""
    config = teacher.config
    return isinstance(config, DiffusionConfig) and config.prediction != "eps" and config.schedule.log_snr_min <= NOISE


def fixed(config: ChainConfig) -> dict[str, Any]:
    """What decides a chain's weights, and stays as it is when the chain goes on."""
    free = ("teacher", "watch", "data_path", *config.execution())
    return {name: value for name, value in asdict(config).items() if name not in free}
