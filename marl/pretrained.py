"""Starting from a pre-trained network: which of its parts are taken over, strictly, and which are not.

Encoder, exchange and predictor go over as they are; the heads for actions and values are left to reinforcement
learning. A part that does not match is an error: a network that is half pre-trained would be no arm of any comparison.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

import agents
from agents import NetworkConfig, TeamNetwork
from agents.policy import find

PARTS = {
    "encoder": "what an agent sees becomes its token",
    "place": "the agent's own position in its token",
    "exchange": "what agents tell each other",
    "predictor": "how everybody will move",
}
"""Parts that are taken over -> what they do."""
LEFT_OUT = {
    "policy": "pre-training sees no actions, so the head for actions is learnt from the start",
    "value": "pre-training sees no rewards, so the head for values is learnt from the start",
}
"""Parts that are not -> why."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What `load_pretrained` did."""

    source: Path
    """The policy folder that the weights came from."""
    loaded: tuple[str, ...]
    """Names of the tensors that were taken over."""
    left_out: dict[str, str]
    """Part -> why it was not."""
    numbers: dict[str, int]
    """Part that was taken over -> how many weights it has."""
    env: str
    """The environment of the recordings, or of the training, that the weights come from."""


def load_pretrained(network: TeamNetwork, path: str | Path) -> Loaded:
    """Copies encoder, exchange and predictor of the policy at `path` into `network`, all of them or none.

    Args: path: run (its newest checkpoint), checkpoint or policy folder.
    Raises: ValueError in one sentence if there is no policy, it is damaged, or it is of another observation or network:
    the sentence names what differs, what it is and what is needed. `network` is then untouched.
    """
    source = find(path)
    theirs = agents.load(source).network
    for problem in differences(network, theirs):
        raise ValueError(f"{path} does not fit the network to be trained: {problem}")
    weights, ours = theirs.state_dict(), network.state_dict()
    names = [name for name in ours if name.split(".")[0] not in LEFT_OUT]
    with torch.no_grad():
        for name in names:
            ours[name].copy_(weights[name])
    numbers: dict[str, int] = {}
    for name in names:
        part = name.split(".")[0]
        numbers[part] = numbers.get(part, 0) + ours[name].numel()
    return Loaded(source=source, loaded=tuple(names), left_out=dict(LEFT_OUT), numbers=numbers, env=theirs.spec.env)


def differences(network: TeamNetwork, theirs: TeamNetwork) -> list[str]:
    """Why the weights of `theirs` do not fit `network`, as readable sentences; empty if they do.

    The number of actions may differ, since the head for actions is left out.
    """
    needed = replace(network.spec, num_actions=theirs.spec.num_actions)
    problems = theirs.spec.differences(needed)
    if needed.step_scale != theirs.spec.step_scale:
        problems.append(f"step_scale is {needed.step_scale}, the network was built for {theirs.spec.step_scale}")
    unused = {"cell_radius"} if network.config.prediction == "displacement" else set()
    for name in (field.name for field in fields(NetworkConfig) if field.name not in unused):
        got, need = getattr(theirs.config, name), getattr(network.config, name)
        if got != need:
            problems.append(f"network.{name} is {got!r} there, needed is {need!r}")
    shapes, expected = ({k: tuple(v.shape) for k, v in net.state_dict().items()} for net in (theirs, network))
    for name in sorted({*shapes, *expected}):
        if name.split(".")[0] not in LEFT_OUT and shapes.get(name) != expected.get(name):
            problems.append(f"{name} has shape {shapes.get(name)} there, needed is {expected.get(name)}")
    return problems


def describe(loaded: Loaded) -> list[str]:
    """Lines to print: what was taken over, what was left out and why."""
    lines = [f"starts from {loaded.source} (learnt on {loaded.env})"]
    lines += [f"  loaded    {part}: {PARTS.get(part, '')}, {count:,} weights" for part, count in loaded.numbers.items()]
    return lines + [f"  left out  {part}: {reason}" for part, reason in loaded.left_out.items()]
