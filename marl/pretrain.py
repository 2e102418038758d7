"""Pre-training: encoder, exchange and predictor learn from recordings of play, before any reward.

Shang et al. 2021 (arXiv 2104.09402) pre-train with the predictive objective that needs no action labels; how is our
choice, as the text we could read does not say: plain supervised learning with Adam, a short warm-up and a cosine decay.
The network is the one that reinforcement learning goes on with (`marl.pretrained`). Needs neither Ray nor an engine.
"""

import hashlib
import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

import envs
from agents import ObservationSpec, Policy, TeamNetwork
from agents import load as load_policy
from marl import checkpoint
from marl.losses.prediction import kinds_that_count, prediction_loss, prediction_sums, summarise
from marl.pretrain_config import PretrainConfig
from marl.pretrain_data import Batches, Reader, Rows, held_out, join
from marl.pretrain_errors import ROWS_AT_ONCE, ErrorRow, errors
from marl.recording import Recording, open_recording

Report = Callable[[int, dict[str, float]], None]
"""Called with the steps done and {tag: value}."""
UNTRAINED = ("policy", "value")
"""Heads that pre-training leaves as they were born."""


class NotFinite(RuntimeError):
    """The loss has become infinite or no number."""


class Pretraining:
    """One run in progress: network, optimiser, data and counters."""

    def __init__(self, config: PretrainConfig, run: Path) -> None:
        self.config, self.run = config, run
        if config.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device 'cuda' is not here: torch finds no GPU; allowed: auto, cpu")
        cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
        self.device = torch.device("cuda" if cuda else "cpu")
        self.recording, self.spec = open_data(config)
        kinds_that_count(self.spec.entity_kinds, config.kinds)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = TeamNetwork(self.spec, config.network).to(self.device)
        self.parameters = [p for name, p in self.network.named_parameters() if name.split(".")[0] not in UNTRAINED]
        self.optimiser = torch.optim.Adam(self.parameters, lr=config.learning_rate)
        reader = reader_of(self.recording, self.spec, config)
        self.test = list(held_out(reader, config.eval_rows))
        if not self.test:
            raise ValueError(
                f"{config.data} has no held-out moment: {config.holdout:g} of its episodes is none; "
                "record more episodes or give a larger holdout"
            )
        self.batches = Batches(reader, batch=config.batch, seed=config.seed, memory=int(config.memory_mb * 2**20))
        self.steps, self.train_s = 0, 0.0

    def rate(self, step: int) -> float:
        """Step size of update `step` (from 0)."""
        config = self.config
        warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
        return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / config.steps))

    def step(self) -> dict[str, Tensor]:
        """One update. Returns statistics."""
        rows = self.batches.get(self.steps, self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(self.steps)
        predicted = self.network.predict(self.network.encode(rows.obs)[0])
        loss, stats = prediction_loss(
            predicted, rows.targets, rows.obs["mask"], entity_kinds=self.spec.entity_kinds, kinds=self.config.kinds
        )
        self.optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.grad_clip)
        self.optimiser.step()
        self.steps += 1
        return {"loss": loss.detach(), "grad_norm": norm, **stats}

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        """{"eval/...": value} on the held-out moments kept for that."""
        total: dict[str, Tensor] = {}
        for part in self.test:
            for chosen in torch.arange(len(part)).split(ROWS_AT_ONCE):
                rows = part.take(chosen, self.device)
                predicted = self.network.predict(self.network.encode(rows.obs)[0])
                sums = prediction_sums(predicted, rows.targets, rows.obs["mask"])
                total = {name: total.get(name, 0) + value for name, value in sums.items()}
        stats = summarise(total, self.spec.entity_kinds, self.config.kinds, self.network.predicted["cells"] or None)
        return {f"eval/{name}": float(value) for name, value in stats.items()}

    def policy(self) -> Policy:
        env = self.recording.manifest["env"] if self.config.env is None else envs.to_json(self.config.env)
        meta = {
            "env": env, "env_steps": 0, "deterministic": False, "pretrained": True, "pretrain_steps": self.steps,
            "untrained": list(UNTRAINED), "recording": {"env": self.recording.manifest["env"]},
        }  # fmt: skip
        return Policy(self.network, meta)

    def save(self) -> Path:
        """Writes a checkpoint. Raises NotFinite rather than keep weights that are of no use, and ValueError where the
        system does not take it (a full disk): the earlier one is then still there."""
        if not all(parameter.isfinite().all() for parameter in self.parameters):
            raise NotFinite(self.not_finite())

        def state(folder: Path) -> None:
            folder.mkdir()
            data = io.BytesIO()  # torch's own writer does not say that a disk is full
            torch.save(self.optimiser.state_dict(), data)
            (folder / "optimiser.pt").write_bytes(data.getbuffer())

        progress = {
            "env_steps": 0, "iterations": self.steps, "train_s": self.train_s, "seed": self.config.seed,
            "data": fingerprint(self.recording),
        }  # fmt: skip
        try:
            return checkpoint.write(self.run, self.steps, state, self.policy(), progress, self.config.keep_checkpoints)
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ValueError(f"cannot write a checkpoint of {self.run}: {reason}") from None

    def not_finite(self) -> str:
        rate = self.config.learning_rate
        return f"the loss was not finite before step {self.steps}; try a learning_rate lower than {rate:g}"

    def restore(self, source: Path) -> None:
        """Goes on from a checkpoint. Raises ValueError for another recording or network, or a damaged file."""
        progress = checkpoint.progress_of(source)
        if progress.get("data") != fingerprint(self.recording):
            raise ValueError(f"{source} was made with another recording than {self.config.data}")
        saved = load_policy(source).network
        if saved.config != self.config.network or self.spec.differences(saved.spec):
            raise ValueError(f"{source} holds another network than the one that is asked for")
        self.network.load_state_dict(saved.state_dict())
        checkpoint.restore_adam(source / "optimiser.pt", self.optimiser)
        self.steps, self.train_s = progress["iterations"], float(progress["train_s"])


def open_data(config: PretrainConfig) -> tuple[Recording, ObservationSpec]:
    """The recording, checked, and what the network must know. Raises ValueError where they do not fit."""
    recording = open_recording(config.data)
    if config.env is None:
        return recording, recording.spec
    team = envs.make_team(config.env)
    try:
        spec = ObservationSpec.from_team(team.spec)
    finally:
        team.close()
    recording.check_fits(spec)
    return recording, spec


def reader_of(recording: Recording, spec: ObservationSpec, config: PretrainConfig) -> Reader:
    return Reader(
        recording, spec,
        horizon=config.network.horizon, kinds=config.kinds, holdout=config.holdout, restart=config.restart,
    )  # fmt: skip


def fingerprint(recording: Recording) -> str:
    """Of the recording's contents, from the checksums of its parts."""
    return hashlib.sha256(json.dumps([part["sha256"] for part in recording.parts]).encode()).hexdigest()


def pretrain(config: PretrainConfig, run: str | Path, *, report: Report | None = None, resume: bool = False) -> Policy:
    """Pre-trains a network and returns it as a policy whose heads for actions and values are untrained.

    Args: run: folder for checkpoints, made if missing; report: receives metrics as they come; resume: go on from the
    newest checkpoint in `run`, if there is one. On a CPU a run that was killed and went on ends with the same weights.
    Raises: ValueError for a recording that is damaged or does not fit, another run's checkpoints in `run`, or a
    checkpoint that does not fit; NotFinite. The last checkpoint stays in every case.
    """
    run = Path(run)
    source = checkpoint.newest(run)
    if source and not resume:
        raise ValueError(f"{run} holds checkpoints of an earlier run; resume that one or give another folder")
    pretraining = Pretraining(config, run)
    if source:
        pretraining.restore(source)
    try:
        _loop(pretraining, report or (lambda steps, metrics: None))
    except KeyboardInterrupt:
        if pretraining.steps:
            pretraining.save()
        raise
    return pretraining.policy()


def _loop(pretraining: Pretraining, report: Report) -> None:
    config = pretraining.config
    last_save = began = time.monotonic()
    sums: dict[str, Tensor] = {}
    count = 0
    while pretraining.steps < config.steps:
        stats = pretraining.step()
        sums, count = {name: sums.get(name, 0) + value for name, value in stats.items()}, count + 1
        done = pretraining.steps
        ends = done == config.steps
        if done % config.report_interval_steps and done % config.eval_interval_steps and not ends:
            continue
        metrics = {f"train/{name}": float(value) / count for name, value in sums.items()}
        if not all(map(math.isfinite, metrics.values())):
            raise NotFinite(pretraining.not_finite())
        now = time.monotonic()
        pretraining.train_s += now - began
        metrics |= {"time/train_s": pretraining.train_s, "time/rows_per_s": count * config.batch / (now - began)}
        if done % config.eval_interval_steps == 0 or ends:
            metrics |= pretraining.evaluate()
        if ends or now - last_save >= config.checkpoint_interval_s:
            pretraining.save()
            last_save = now
        report(done, metrics)
        sums, count, began = {}, 0, time.monotonic()


def held_out_errors(config: PretrainConfig, policy: Policy, *, restart: float | None = None) -> list[ErrorRow]:
    """The errors of a policy's predictor on all held-out episodes, beside those of the trivial predictors.

    Args: restart: instead of the configuration's; 0 counts the moves across a restart too.
    """
    recording = open_data(config)[0]
    config = config if restart is None else replace(config, restart=restart)
    parts = held_out(reader_of(recording, policy.spec, config))
    return errors(policy.network, parts, kinds=config.kinds, seed=config.seed)


def held_out_sample(config: PretrainConfig, spec: ObservationSpec, count: int = 6) -> Rows:
    """Some held-out moments for a picture, evenly spread over the half in which more is going on."""
    rows = join(list(held_out(reader_of(open_data(config)[0], spec, config), config.eval_rows)))
    moved = rows.targets.displacement[:, :, -1].norm(dim=-1).sum(-1)
    lively = (moved >= moved.median()).nonzero().flatten()
    return rows.take(lively[torch.linspace(0, len(lively) - 1, min(count, len(lively))).round().long()])
