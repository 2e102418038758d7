"""Trained policies: saved as safetensors beside a JSON description, loaded without unpickling, used without Ray."""

import json
import os
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from agents.network import NetworkConfig, TeamNetwork, TeamOutput
from agents.reading import check_fields, check_types, json_of, reading
from agents.spec import ObservationSpec

FORMAT = "tandem-policy-1"
_META = {
    "env": dict, "env_steps": int, "deterministic": bool, "pretrained": bool, "pretrain_steps": int,
    "untrained": list[str],
}  # fmt: skip
"""Facts about a policy's making that others rely on, where they are given."""
_TEAM_KEYS = ("view", "mask", "who")  # per agent; every other array is common to the team


def gumbel(uniform: np.ndarray) -> np.ndarray:
    """Standard Gumbel noise from uniform noise in [0, 1): argmax(logits + noise) is a sample of softmax(logits)."""
    tiny = np.finfo(np.float32).tiny
    return -np.log(-np.log(np.maximum(uniform, tiny)) + tiny)


class Policy:
    """A network with what it needs to be used: `act` for actions, `output` for logits, values and attention."""

    def __init__(self, network: TeamNetwork, meta: dict[str, Any] | None = None) -> None:
        self.network = network.eval()
        self.spec = network.spec
        self.meta = meta or {}
        """Facts about its making: environment configuration, steps trained, evaluation mode."""

    @property
    def untrained(self) -> bool:
        """Whether its head for actions is as it was born: a pre-training sees no actions."""
        return "policy" in self.meta.get("untrained", ())

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def to(self, device: str | torch.device) -> "Policy":
        self.network.to(device)
        return self

    def output(self, observations: Mapping[str, np.ndarray]) -> TeamOutput:
        """The network's output for a batch of team observations (arrays with leading axes [B] in native dtypes)."""
        with torch.inference_mode():
            return self.network(
                {k: torch.from_numpy(np.ascontiguousarray(v)).to(self.device) for k, v in observations.items()}
            )

    def act(
        self,
        observations: Mapping[str, Any],
        *,
        deterministic: bool = True,
        rng: np.random.Generator | None = None,
    ) -> Any:
        """Actions for one team or a batch of teams.

        Args:
            observations: what an environment returned. Either a team observation (arrays [A, ...]), a batch of them
                ([B, A, ...]), or PettingZoo's dictionary of one observation per agent.
            deterministic: the most likely action; otherwise a sample.
            rng: source of randomness for samples; a fresh one if omitted.
        Returns: int64 [A] or [B, A], or for PettingZoo a dictionary agent -> int.
        Raises: ValueError where the observations do not fit the network. Warns where the policy is `untrained`.
        """
        if observations and all(isinstance(value, Mapping) for value in observations.values()):
            actions = self.act(self._team_of(observations), deterministic=deterministic, rng=rng)
            return {agent: int(action) for agent, action in zip(observations, actions, strict=True)}
        if self.untrained:
            warnings.warn("a pre-trained policy whose head for actions is untrained acts at random", stacklevel=2)
        single = np.ndim(observations.get("mask", 0)) == 1
        arrays = {key: np.asarray(value) for key, value in observations.items()}
        batch = self._fit({key: value[None] for key, value in arrays.items()} if single else arrays)
        logits = self.output(batch).logits.float().cpu().numpy()
        if not deterministic:
            logits = logits + gumbel((rng or np.random.default_rng()).random(logits.shape, dtype=np.float32))
        actions = logits.argmax(-1)
        return actions[0] if single else actions

    def _team_of(self, observations: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """PettingZoo's dictionary as one team observation; agents in the order of the dictionary."""
        if len(observations) != self.spec.num_agents:
            raise ValueError(
                f"the policy plays {self.spec.num_agents} agents, "
                f"got observations of {len(observations)}: {', '.join(observations)}"
            )
        each = list(observations.values())
        return {
            key: np.stack([one[key] for one in each]) if key in _TEAM_KEYS else np.asarray(each[0][key])
            for key in each[0]
        }

    def _fit(self, observations: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays that the network reads, in its dtypes. Raises ValueError where one is missing or does not fit."""
        spec, batch = self.spec, {}
        for key, shape in spec.shapes.items():
            if key not in observations:
                raise ValueError(f"observation lacks {key!r}; the policy for {spec.env} needs {', '.join(spec.shapes)}")
            value, dtype = observations[key], np.dtype(spec.dtypes[key])
            if value.shape[1:] != shape:
                raise ValueError(
                    f"observation {key!r} has shape {value.shape[1:]}, the policy for {spec.env} needs {shape}"
                )
            if not np.can_cast(value.dtype, dtype, "same_kind"):
                raise ValueError(
                    f"observation {key!r} has dtype {value.dtype}, the policy for {spec.env} needs {dtype.name}"
                )
            batch[key] = value.astype(dtype, copy=False)
        if len({len(value) for value in batch.values()}) > 1:
            sizes = ", ".join(f"{key} {len(value)}" for key, value in batch.items())
            raise ValueError(f"the arrays of a batch of observations must be equally long, got {sizes}")
        return batch

    def save(self, folder: str | Path) -> Path:
        """Writes `policy.json` and `weights.safetensors` into `folder`, each under a temporary name first."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {key: value.detach().cpu().contiguous() for key, value in self.network.state_dict().items()}
        _replace(folder / "weights.safetensors", lambda path: save_file(weights, path))
        text = json.dumps(
            {
                "format": FORMAT,
                "spec": self.spec.to_json(),
                "network": asdict(self.network.config),
                "meta": self.meta,
            },
            indent=2,
        )
        _replace(folder / "policy.json", lambda path: Path(path).write_text(text))
        return folder


def _replace(target: Path, write: Any) -> None:
    """Writes through a temporary file in the same folder, so that nobody sees half a file."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name + ".")
    os.close(handle)
    try:
        write(name)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def find(path: str | Path) -> Path:
    """The folder with `policy.json` that `path` means: itself, a checkpoint's, or the newest of a run.

    Raises: ValueError if there is none.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist; give a run folder, a checkpoint or a policy folder")
    candidates = [path, path / "policy", *sorted(path.glob("checkpoints/[0-9]*/policy"), reverse=True)]
    for folder in candidates:
        if (folder / "policy.json").is_file():
            return folder
    raise ValueError(f"{path} holds no policy; expected policy.json in it, or a finished checkpoint under checkpoints/")


def load(path: str | Path, device: str | torch.device = "cpu") -> Policy:
    """The policy of a run folder (its newest checkpoint), a checkpoint folder or a policy folder.

    Nothing is unpickled, so a policy from elsewhere cannot run code, and nothing is allocated that its weights do not
    fill.
    Raises: ValueError in one sentence for a folder without policy, a damaged file, or weights that do not fit or are no
    finite numbers.
    """
    folder = find(path)
    with json_of(folder / "policy.json", "a policy") as data:
        if data["format"] != FORMAT:
            raise ValueError(f"its format is {data['format']!r}, this version reads {FORMAT!r}")
        check_fields(data, {"spec": dict, "network": dict, "meta": dict})
        spec, config, meta = ObservationSpec.from_json(data["spec"]), NetworkConfig(**data["network"]), data["meta"]
        check_types(config)
        check_fields(meta, {name: kind for name, kind in _META.items() if name in meta})
        with torch.device("meta"):  # shapes without memory
            needed = {name: tuple(value.shape) for name, value in TeamNetwork(spec, config).state_dict().items()}
    weights = _weights(folder, needed)
    network = TeamNetwork(spec, config)
    network.load_state_dict(weights)
    for name, value in network.state_dict().items():
        if not value.isfinite().all():
            raise ValueError(f"weights in {folder} are of no use: {name} holds numbers that are not finite")
    return Policy(network, meta).to(device)


def _weights(folder: Path, needed: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The tensors of a policy, read once their shapes are known to be the needed ones."""
    path = folder / "weights.safetensors"
    with reading(path, "a policy's weights"), safe_open(path, "pt") as file:
        names = file.keys()
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
        odd = [name for name in {**needed, **shapes} if shapes.get(name) != needed.get(name)]
        if not odd:
            weights = {name: file.get_tensor(name) for name in names}
            if all(value.is_floating_point() for value in weights.values()):
                return weights
            raise ValueError("it holds tensors that are no floating-point numbers")
    have, need = shapes.get(odd[0], "missing"), needed.get(odd[0], "no such tensor")
    raise ValueError(f"weights in {folder} do not fit its network: {odd[0]} is {have}, needed is {need}")
