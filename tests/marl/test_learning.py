"""A plain loop over the same pieces learns, and only where agents can tell each other what they see.

In the meeting game one player knows the column of the meeting point, another its row. The pieces are the runner, the
batch, the losses; RLlib's algorithm, which drives them in training, is left out.
"""

import numpy as np
import pytest
import torch

from agents import Policy
from marl.batch import ADVANTAGES, RETURNS, TeamBatch
from marl.evaluation import evaluate
from marl.losses.masked import masked_mean
from marl.losses.ppo import entropy, log_prob, ppo_loss, value_loss


def step(network, optimizer, batch):
    out, mask = network(batch["obs"]), batch["obs"]["mask"]
    policy, _ = ppo_loss(
        log_prob(out.logits, batch["actions"]), batch["action_logp"], batch[ADVANTAGES], mask, clip_eps=0.2
    )
    value, _ = value_loss(out.values, batch[RETURNS], mask)
    optimizer.zero_grad()
    (policy + 0.5 * value - 0.01 * masked_mean(entropy(out.logits), mask)).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
    optimizer.step()


def rows_of(batch, rows):
    return {k: rows_of(v, rows) if isinstance(v, dict) else v[rows] for k, v in batch.items()}


def learn(make_runner, env, arm, updates):
    runner = make_runner(env, num_envs=32, steps=32, arm=arm)
    network = runner.module.network
    torch.manual_seed(0)
    network.load_state_dict(type(network)(network.spec, network.config).state_dict())
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    collect = TeamBatch(gamma=0.95, lambda_=0.9, reward_scale=1.0, device="cpu")
    for _ in range(updates):
        batch = collect.build(network, runner.sample())
        for _ in range(3):
            for rows in torch.randperm(len(batch["actions"])).split(256):
                step(network, optimizer, rows_of(batch, rows))
    return np.mean([e.metrics["met"] for e in evaluate(Policy(network), env, episodes=200, num_envs=100)])


@pytest.mark.slow
def test_attention_learns_to_meet_and_independent_agents_do_not(meeting, make_runner):
    env = meeting(players=3, side=3, steps=12)
    met = {arm: learn(make_runner, env, arm, 20) for arm in ("independent", "acam")}
    assert met["independent"] < 0.3, met
    assert met["acam"] > 0.75, met
