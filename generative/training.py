"""A model in training: its weights, their moving average, the optimiser, and how far it is.

One update is `Training.update`; what surrounds it (data, checkpoints, pictures, other workers) is in train.py.
"""

import copy
import json
import math
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from generative import checkpoint, loading, models, noise
from generative.checkpoint import Store
from generative.config import OptimSettings, TrainConfig, to_json
from generative.model import PictureModel
from generative.papers.progressive_distillation import Diffusion, check_teacher

Batch = dict[str, Tensor]


class Training:
    """Everything that a checkpoint brings back."""

    def __init__(
        self, config: TrainConfig, shape: tuple[int, int, int], num_levels: int, classes: tuple[str, ...], device: str
    ) -> None:
        """shape: (C, H, W) of the pictures; classes: names of their labels."""
        self.config, self.device = config, torch.device(device)
        self.meta = {"shape": list(shape), "num_levels": num_levels, "classes": list(classes)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model = models.make(config.model, shape, num_levels)
        layout = torch.channels_last if config.optim.channels_last else torch.contiguous_format
        teacher = self._teacher(model)
        self.model = model.to(self.device, memory_format=layout)  # pyright: ignore[reportCallIssue]
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        if teacher is not None:
            teacher = teacher.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
            for taught in (self.model, self.average):
                assert isinstance(taught, Diffusion)
                taught.learn_from(teacher)
        if config.optim.compile:
            for trained in [self.model] if teacher is None else [self.model, teacher]:
                trained.denoise.net.compile(mode="reduce-overhead" if config.optim.cuda_graphs else None)
        self.names = {parameter: name for name, parameter in self.model.named_parameters()}
        # Found once: to walk through the modules at every step takes longer than a small network does on a GPU.
        self._network = list(self.model.denoise.parameters())
        self._followed = _by_dtype(zip(self.average.parameters(), self.model.parameters(), strict=True))
        self.optimizer = torch.optim.AdamW(parameter_groups(self.model, config.optim), fused=True)
        self.step = 0
        self.train_s = 0.0

    def _teacher(self, model: PictureModel) -> PictureModel | None:
        """Whom the model learns from, if anybody; it starts with the same weights where the networks are the same."""
        if self.config.teacher is None or not isinstance(model, Diffusion):
            return None
        teacher = loading.load(self.config.teacher, str(self.device))
        check_teacher(model, teacher)
        theirs, ours = teacher.denoise.state_dict(), model.denoise.state_dict()
        if {name: value.shape for name, value in theirs.items()} == {name: value.shape for name, value in ours.items()}:
            model.denoise.load_state_dict(theirs)
        return teacher

    def update(self, module: nn.Module, batch: Batch, first: int = 0) -> dict[str, Tensor]:
        """One optimiser step. Returns what the loss returns, one value per example [b], and grad_norm, a scalar.

        Args:
            module: the model, or DistributedDataParallel around it.
            batch: this worker's share of the batch, pictures first to first + b - 1 of it.
        """
        optim = self.config.optim
        pieces = _pieces(batch, optim.micro_batches)
        terms: list[dict[str, Tensor]] = []
        self.model.train()
        self._set_learning_rates()
        self.optimizer.zero_grad(set_to_none=True)
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            with nullcontext() if last or module is self.model else module.no_sync():  # pyright: ignore
                terms.append(self._backward(module, piece, first, 1 / len(pieces)))
            first += len(piece["x"])
        network = [parameter for parameter in self._network if parameter.grad is not None]
        norm = nn.utils.clip_grad_norm_(network, optim.grad_clip if optim.grad_clip is not None else math.inf)
        self.optimizer.step()
        self.step += 1
        self._follow()
        return {name: torch.cat([t[name].detach() for t in terms]) for name in terms[0]} | {"grad_norm": norm}

    def _backward(self, module: nn.Module, batch: Batch, first: int, share: float) -> dict[str, Tensor]:
        config = self.config
        # Dropout draws from the global generator: seeded here, a run that goes on draws what it would have drawn. What
        # is dropped (and nothing else) depends on how the batch is cut.
        torch.manual_seed(noise.mix(config.seed, noise.DROPOUT, self.step, first))
        batch = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        rows = first, first + len(batch["x"])
        seed = noise.mix(config.seed, noise.TRAINING)
        source = noise.GlobalBatch(seed, self.step, *rows, total=config.optim.batch, device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.optim.bf16):
            terms = module(batch, source)
        (terms["loss"].mean() * share).backward()
        return terms

    @torch.no_grad()
    def is_sound(self, batch: Batch, first: int = 0) -> bool:
        """Whether the weights of this moment give a finite loss on this worker's share of a batch."""
        config = self.config
        batch = {name: value.to(self.device) for name, value in batch.items()}
        rows, seed = (first, first + len(batch["x"])), noise.mix(config.seed, noise.TRAINING)
        source = noise.GlobalBatch(seed, self.step, *rows, total=config.optim.batch, device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.optim.bf16):
            return bool(torch.isfinite(self.model(batch, source)["loss"]).all())

    def _set_learning_rates(self) -> None:
        factor = learning_rate_factor(self.config.optim, self.step, self.config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = factor * group["peak"]

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the average towards the weights. The first decays are small, so that it soon forgets the start."""
        optim = self.config.optim
        decay = min(optim.ema, self.step / (9 + self.step)) if optim.ema_warmup else optim.ema
        for averages, weights in self._followed:
            torch._foreach_lerp_(averages, weights, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    def about(self) -> dict[str, Any]:
        """What model.json says, and the `meta` of a loaded model."""
        return {**self.meta, "config": to_json(self.config), "step": self.step}

    def files(self) -> dict[str, bytes]:
        """The checkpoint of this moment (see checkpoint.py)."""
        weights = {f"weights.{name}": value for name, value in self.model.state_dict().items()}
        moments = {
            f"{key}.{self.names[parameter]}": value
            for parameter, state in self.optimizer.state.items()
            for key, value in state.items()
        }
        about = self.about()
        progress = {"step": self.step, "train_s": self.train_s, "seed": self.config.seed}
        return {
            "model.json": json.dumps(about, indent=2).encode(),
            "model.safetensors": checkpoint.pack(self.average.state_dict()),
            "train.safetensors": checkpoint.pack(weights | moments),
            "progress.json": json.dumps(progress, indent=2).encode(),
        }

    def restore(self, store: Store, step: int) -> None:
        """Goes on from a checkpoint. Raises ValueError for one that is damaged or of another model."""
        where = store.path(step, "train.safetensors")
        average = checkpoint.unpack(store.read(step, "model.safetensors"), store.path(step, "model.safetensors"))
        checkpoint.load_into(self.average.load_state_dict, self.average.state_dict(), average, where)
        tensors = checkpoint.unpack(store.read(step, "train.safetensors"), where)
        weights = {n.removeprefix("weights."): t for n, t in tensors.items() if n.startswith("weights.")}
        checkpoint.load_into(self.model.load_state_dict, self.model.state_dict(), weights, where)
        try:
            progress = json.loads(store.read(step, "progress.json"))
            self.step, self.train_s = int(progress["step"]), float(progress["train_s"])
            if self.step != step:
                raise ValueError(f"it is of step {self.step}")
            self._load_moments(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            reason = error if isinstance(error, ValueError) else repr(error)  # a KeyError alone is only a word
            raise ValueError(f"{store.path(step)} cannot be gone on from: {reason}") from None

    def _load_moments(self, tensors: dict[str, Tensor]) -> None:
        state: dict[str, Any] = self.optimizer.state_dict()
        ordered = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        for index, parameter in enumerate(ordered):
            name = self.names[parameter]
            if f"step.{name}" not in tensors:
                continue  # it never had a gradient
            # In the memory layout of the parameter: the fused optimiser walks both as they lie.
            moments = {k: torch.empty_like(parameter).copy_(tensors[f"{k}.{name}"]) for k in ("exp_avg", "exp_avg_sq")}
            state["state"][index] = {"step": tensors[f"step.{name}"], **moments}
        self.optimizer.load_state_dict(state)


def parameter_groups(model: PictureModel, optim: OptimSettings) -> list[dict[str, Any]]:
    """AdamW's groups: weight decay on the network's weights of two or more axes; the schedule has its own pace."""
    groups = []
    for name, parameters, kind in model.parameter_groups():
        peak = optim.learning_rate if kind == "network" else optim.schedule_learning_rate
        decayed = [p for p in parameters if p.ndim >= 2 and kind == "network"]
        plain = [p for p in parameters if p.ndim < 2 or kind != "network"]
        for decay, chosen in ((optim.weight_decay, decayed), (0.0, plain)):
            if chosen:
                group = {"params": chosen, "name": name, "peak": peak, "lr": peak, "weight_decay": decay}
                groups.append(group | {"betas": (optim.beta1, optim.beta2), "eps": optim.adam_eps})
    return groups


def learning_rate_factor(optim: OptimSettings, step: int, steps: int) -> float:
    """What the peak learning rates are multiplied by at `step` (from 0) of `steps`."""
    warm = min(1.0, (step + 1) / optim.warmup_steps) if optim.warmup_steps else 1.0
    if optim.decay == "constant":
        return warm
    place = min(1.0, max(0, step - optim.warmup_steps) / max(1, steps - optim.warmup_steps))
    if optim.decay == "linear":
        return warm * (1 - place)
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * place)))


def _pieces(batch: Batch, count: int) -> list[Batch]:
    """The batch cut into `count` parts. Slices, not copies: what was pinned stays pinned."""
    parts = {name: value.chunk(count) for name, value in batch.items()}
    return [dict(zip(parts, values, strict=True)) for values in zip(*parts.values(), strict=True)]


def _by_dtype(pairs: Iterable[tuple[Tensor, Tensor]]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """(first ones, second ones) of the pairs, for each dtype."""
    grouped: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for first, second in pairs:
        firsts, seconds = grouped.setdefault(first.dtype, ([], []))
        firsts.append(first)
        seconds.append(second)
    return list(grouped.values())
