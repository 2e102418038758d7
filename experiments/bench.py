"""`tandem bench`: speed and memory beside the peers, alternating in one process, as medians with the spread."""

from experiments import flags
from experiments.bench_timing import BenchCommand


def bench_command(args: list[str]) -> int:
    """Measures speed and memory beside the peers."""
    command = flags.parse(
        BenchCommand,
        args,
        prog="tandem bench",
        example="tandem bench runner --repeats 7",
        about=bench_command.__doc__ or "",
    )
    if command.repeats < 1 or (command.steps is not None and command.steps < 1):
        raise ValueError(f"repeats and steps must be at least 1, got {command.repeats} and {command.steps}")
    import torch

    torch.set_num_threads(1)
    if command.name == "sampling":  # needs no game engine
        from experiments.bench_sampling import bench_sampling

        bench_sampling(command)
        return 0
    if command.name == "training":
        from experiments.bench_training import bench_training

        bench_training(command)
        return 0
    from experiments import bench_teams

    benches = {"envs": bench_teams.bench_envs, "runner": bench_teams.bench_runner, "memory": bench_teams.bench_memory}
    benches[command.name](command)
    return 0
