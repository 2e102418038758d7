"""The training loop: RLlib's Algorithm, stepped, watched, saved and evaluated."""

import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

import envs
from agents import Policy
from marl import checkpoint, curve
from marl.algorithm import algorithm_config, export_policy, import_weights, stop, team_spec
from marl.config import EvalSettings, TrainConfig
from marl.evaluation import evaluate, summarise
from marl.impala import StalledError
from marl.pretrained import Loaded, load_pretrained
from marl.results import flatten
from marl.selfplay import OpponentManager

Report = Callable[[int, dict[str, float]], None]
"""Called with the environment steps done and {tag: value}."""
Look = Callable[[int, Policy], None]
"""Called with the environment steps done and the policy of that moment, to draw it."""

Started = Callable[[Loaded], None]
"""Called with what a run took over from a pre-trained network."""


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Holds back what Ray and RLlib say on stderr while they start (notices about stacks, restarts and deprecations,
    some from C++); if the start fails, all of it is shown."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        shown = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(shown, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """A stopped job saves what it has, as Ctrl-C does. Ray takes SIGTERM for itself when it starts, so this comes
    after. Only the main thread may; elsewhere (a Tune trial) nothing changes."""

    def interrupt(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)  # None: a handler that was not set from Python


def start_ray(num_cpus: int) -> None:
    """Joins the cluster of the surrounding job (RAY_ADDRESS), or starts a private instance on this machine."""
    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level=logging.ERROR)
        return
    options = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    for attempt in (1, 2):  # on a loaded machine the first start can time out
        try:
            ray.init(address="local", num_cpus=num_cpus, **options)
            return
        except Exception:
            ray.shutdown()
            if attempt == 2:
                raise


class Training:
    """One run in progress: owns the Algorithm and the run folder's checkpoints."""

    def __init__(self, config: TrainConfig, run: Path) -> None:
        self.config, self.run = config, run
        self.progress: dict[str, Any] = {"env_steps": 0, "iterations": 0, "train_s": 0.0, "seed": config.seed}
        with quiet_stderr():
            start_ray(max(os.cpu_count() or 1, config.runners.num_runners))
            self.spec = team_spec(config.env)
            self.opponents = OpponentManager(config, run, self.spec)
            self.algorithm = self.opponents.seat(algorithm_config(config, self.spec)).build_algo()
        self._last_growth = time.monotonic()

    def start_from_pretrained(self) -> Loaded | None:
        """Puts the weights that `config.pretrained` names, if it does, into learner and runners, and returns what was
        taken over. Raises ValueError where they do not fit."""
        if self.config.pretrained is None:
            return None
        network = self.policy().network
        loaded = load_pretrained(network, self.config.pretrained)
        import_weights(self.algorithm, network)
        return loaded

    def restore(self, source: Path) -> None:
        """Goes on from a checkpoint: weights, optimiser, schedules, counters."""
        self.progress = checkpoint.progress_of(source)
        self.opponents.restore()
        self.algorithm.restore_from_path(str((source / "rllib").absolute()))

    @property
    def done(self) -> bool:
        limit = self.config.time_s
        return self.progress["env_steps"] >= self.config.env_steps or (
            limit is not None and self.progress["train_s"] >= limit
        )

    def step(self) -> dict[str, float]:
        """One iteration: collect a batch, update. Returns flat metrics. Raises StalledError."""
        began = time.monotonic()
        self.opponents.start(self.algorithm)
        result = self.algorithm.train()
        seconds = time.monotonic() - began
        metrics = flatten(result, seconds)
        steps = int(metrics.pop("env_steps", self.progress["env_steps"]))
        grown = steps - self.progress["env_steps"]
        if grown > 0:
            self._last_growth = time.monotonic()
        elif time.monotonic() - self._last_growth > self.config.runners.stall_timeout_s:
            raise StalledError(
                f"no environment step was collected for {self.config.runners.stall_timeout_s:.0f} s: "
                "every runner is lost or stuck (see the Ray worker logs)"
            )
        self.progress["env_steps"] = steps
        self.progress["iterations"] += 1
        self.progress["train_s"] += seconds
        metrics |= self.opponents.after_iteration(self.algorithm, result, steps, self.policy)
        metrics["time/env_steps_per_s"] = grown / seconds
        metrics["time/train_s"] = self.progress["train_s"]
        return metrics

    def policy(self) -> Policy:
        """The learner's present weights."""
        meta = {
            "env": envs.to_json(self.config.env),
            "env_steps": self.progress["env_steps"],
            "deterministic": self.config.evaluation.deterministic,
        }
        return export_policy(self.algorithm, self.config, self.spec, meta)

    def save(self) -> Path:
        self.opponents.save()
        return checkpoint.save(self.run, self.algorithm, self.policy(), self.progress, self.config.keep_checkpoints)

    def evaluate(self, episodes: int) -> dict[str, float]:
        """Held-out evaluation of the present weights, as {"eval/name": mean}, with "_low" and "_high". Every episode
        of it goes into the run's learning curve (`marl.curve`)."""
        settings = self.config.evaluation
        played = evaluate(
            self.policy(),
            self.config.env,
            episodes=episodes,
            seed=settings.seed,
            deterministic=settings.deterministic,
            num_envs=min(settings.num_envs, episodes),
        )
        curve.append(self.run, self.progress["env_steps"], played)
        metrics = {}
        for name, numbers in summarise(played).items():
            metrics[f"eval/{name}"] = numbers["mean"]
            metrics[f"eval/{name}_low"], metrics[f"eval/{name}_high"] = numbers["low"], numbers["high"]
        return metrics

    def stop(self) -> None:
        stop(self.algorithm)


def train(
    config: TrainConfig,
    run: str | Path | None = None,
    *,
    report: Report | None = None,
    look: Look | None = None,
    started: Started | None = None,
    resume: bool = False,
) -> Policy:
    """Trains a team and returns its policy.

    Args:
        config: what to train.
        run: folder for checkpoints, made if missing; runs/python/TIME-SEED if omitted.
        report: receives metrics as they come (the `tandem` command writes them to TensorBoard and JSON lines).
        look: receives the policy after every evaluation on the way.
        started: receives what was taken over from `config.pretrained`, where there is one.
        resume: go on from the newest checkpoint in `run`, if there is one.
    Raises: ValueError for a configuration that does not fit, or a folder with another run's checkpoints (the newest by
    number would be taken for this run's); RunnerError with the runner's traceback for an error in an environment or
    network; StalledError when no data comes. The last checkpoint stays in every case.
    """
    report = report or (lambda steps, metrics: None)
    run = Path(run or Path("runs") / "python" / f"{time.strftime('%Y%m%d-%H%M%S')}-{config.seed}")
    if not resume and checkpoint.newest(run):
        raise ValueError(f"{run} holds checkpoints of an earlier run; resume that one or give another folder")
    training = Training(config, run)
    try:
        with sigterm_as_interrupt():
            _loop(training, report, look, started, resume)
        return training.policy()
    except KeyboardInterrupt:
        if training.progress["iterations"]:
            training.save()
        raise
    finally:
        training.stop()


class _Due:
    """When an evaluation on the way is due: by the clock, or at fixed environment steps, which begin with 0."""

    def __init__(self, settings: EvalSettings, run: Path) -> None:
        self.settings, self.last = settings, time.monotonic()
        self.evaluated = max((line["step"] for line in curve.read(run)), default=-1)

    def __call__(self, env_steps: int) -> bool:
        every = self.settings.interval_env_steps
        if every:
            return env_steps // every > self.evaluated // every
        interval = self.settings.interval_s
        return interval > 0 and time.monotonic() - self.last >= interval

    def done(self, env_steps: int) -> None:
        # The clock starts after the evaluation: what that takes is not training.
        self.evaluated, self.last = env_steps, time.monotonic()


def _loop(training: Training, report: Report, look: Look | None, started: Started | None, resume: bool) -> None:
    config, settings = training.config, training.config.evaluation
    if resume and (source := checkpoint.newest(training.run)):
        training.restore(source)
    elif (loaded := training.start_from_pretrained()) and started:
        started(loaded)
    curve.truncate(training.run, training.progress["env_steps"])
    due = _Due(settings, training.run)
    last_save = time.monotonic()
    while not training.done:
        steps = training.progress["env_steps"]
        # Before the step and not after: so a run that was killed in the middle of an evaluation makes up for it.
        if due(steps):
            report(steps, training.evaluate(settings.interval_episodes))
            if look and steps:
                look(steps, training.policy())
            due.done(steps)
        metrics = training.step()
        report(training.progress["env_steps"], metrics)
        if time.monotonic() - last_save >= config.checkpoint_interval_s and not training.done:
            training.save()
            last_save = time.monotonic()
    training.save()
