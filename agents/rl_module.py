"""The network as an RLModule of RLlib's new API stack. The only module of this package that imports Ray."""

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchMultiCategorical
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule

from agents.network import NetworkConfig, TeamNetwork
from agents.spec import ObservationSpec

VALUES = "values"
TOKENS = "tokens"
ATTENTION = "attention"


class TeamRLModule(TorchRLModule, ValueFunctionAPI):
    """One team is one RLlib agent: observations are a dictionary of arrays, the action is MultiDiscrete.

    `model_config` holds "spec" (ObservationSpec.to_json) and "network" (fields of NetworkConfig).
    """

    def setup(self) -> None:
        spec = ObservationSpec.from_json(self.model_config["spec"])
        self.network = TeamNetwork(spec, NetworkConfig(**self.model_config["network"]))
        # MultiDiscrete has no default distribution in RLlib; without this its stock runners refuse to start.
        self.action_dist_cls = TorchMultiCategorical.get_partial_dist_cls(  # type: ignore[attr-defined]
            space=self.action_space, input_lens=[spec.num_actions] * spec.num_agents
        )

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, torch.Tensor]:
        out = self.network(batch[Columns.OBS])
        return {
            Columns.ACTION_DIST_INPUTS: out.logits.flatten(1),  # RLlib's layout of a MultiDiscrete, [B, A * N]
            VALUES: out.values,
            TOKENS: out.tokens,
        }

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        """Values per agent, [B, A]."""
        return self.network(batch[Columns.OBS]).values
