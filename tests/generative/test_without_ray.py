"""Training, sampling and evaluation on a machine that has neither Ray nor a game engine nor TensorBoard."""

import json
import subprocess
import sys
from pathlib import Path

from generative.config import TrainConfig, to_json

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys, json
for name in ("ray", "pyarrow", "tensorboard", "gfootball", "gfootball_engine", "dmlab2d", "torchvision"):
    sys.modules[name] = None  # makes `import name` fail
import generative
from generative import config, data, oracle, samplers, schedules, train, watch
trained = train.train(config.from_json(json.loads(sys.argv[1])), sys.argv[2])
model = generative.load(sys.argv[2])
samples = model.sample(3, steps=4, sampler="dpm++")
elbo = model.elbo(samples, times=2)
found = watch.evaluate(model, data.load(config.from_json(model.meta["config"]).data, "test"), times=2)
print(json.dumps([list(samples.shape), list(elbo.bits.shape), found.bpd()]))
"""


def test_everything_but_the_cluster(tiny: TrainConfig, tmp_path: Path):
    command = [sys.executable, "-c", CODE, json.dumps(to_json(tiny)), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    shape, bits, bpd = json.loads(done.stdout.splitlines()[-1])
    assert (shape, bits) == ([3, 1, 8, 8], [3])
    assert 0 < bpd < 30
