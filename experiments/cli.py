"""The `tandem` command: finds the subcommand, turns errors into one sentence and an exit status.

0 done; 1 a run failed on the way; 2 a wrong value, nothing written; 130 interrupted.
"""

import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import metadata

# Learner and runners share cores. By default torch's threads wait for each other by spinning, and the update of a
# batch took seven times as long on a loaded machine as with threads that sleep. OpenMP reads this once, when torch is
# imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

COMMANDS: dict[str, tuple[str, str]] = {
    "quickstart": (
        "experiments.quickstart:quickstart_command",
        "train, evaluate and film both teams (what `make run` does)",
    ),
    "presets": ("experiments.listing:presets_command", "what can be trained, and what to expect of it"),
    "data": ("experiments.data:data_command", "sets of pictures: list | get NAME"),
    "envs": ("experiments.listing:envs_command", "environments, players, views and options"),
    "record": ("experiments.record:record_command", "episodes of play as a data set of observations, without actions"),
    "pretrain": (
        "experiments.pretrain:pretrain_command",
        "learn from a recording how everybody moves, before training",
    ),
    "train": ("experiments.train:train_command", "train a preset, or go on with a run (--resume RUN)"),
    "sweep": ("experiments.sweep:sweep_command", "several seeds of a preset through Ray Tune"),
    "study": (
        "experiments.study:study_command",
        "every arm, task and seed of a study, and the page that says what came out",
    ),
    "reproduce": (
        "experiments.reproduce:reproduce_command",
        "the trainings and tables behind pages of results about diffusion models",
    ),
    "eval": ("experiments.evaluate:eval_command", "held-out episodes beside the random policy; bits per dimension"),
    "play": ("experiments.play:play_command", "a match, or a team at work, in the browser as it is played"),
    "distill": (
        "experiments.distill:distill_command",
        "students of a diffusion model that take ever fewer steps (progressive distillation)",
    ),
    "sample": ("experiments.sample:sample_command", "pictures from a trained diffusion model"),
    "restore": (
        "experiments.restore:restore_command",
        "pictures made anew: enlarged, coloured, filled, continued, cleaned of JPEG",
    ),
    "video": ("experiments.video:video_command", "write a clip with attention maps"),
    "attention": (
        "experiments.attention:attention_command",
        "who attends to whom in each phase of the game, and from where",
    ),
    "report": ("experiments.report:report_command", "runs side by side in one HTML page: tables, curves, pictures"),
    "cluster": ("experiments.remote:cluster_command", "a token-protected local Ray head: up | status | down"),
    "submit": (
        "experiments.remote:submit_command",
        "run `tandem train ...`, pretrain or study as a job on a Ray cluster",
    ),
    "jobs": ("experiments.remote:jobs_command", "jobs of the cluster"),
    "logs": ("experiments.remote:logs_command", "what a job has printed"),
    "stop": ("experiments.remote:stop_command", "stop a job"),
    "bench": ("experiments.bench:bench_command", "speed and memory, side by side with the peers"),
}
"""Command -> (module:function, what it does). Modules are imported when used, so that --help is quick."""


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: tandem COMMAND ...   (tandem COMMAND --help shows flags and an example)",
            "",
            *lines,
            "",
            "Example: tandem train lab2d-harvest-acam && tensorboard --logdir runs",
            "Example: tandem train vdm-digits && tensorboard --logdir runs",
        ]
    )


def _user_errors() -> tuple[type[Exception], ...]:
    """Errors that a person can mend by giving another value or installing something."""
    errors: list[type[Exception]] = [ValueError]
    if "envs.team" in sys.modules:
        from envs.team import EngineMissing

        errors.append(EngineMissing)
    if "experiments.jobs" in sys.modules or "experiments.cluster" in sys.modules:
        from experiments import cluster, jobs

        errors += [cluster.ClusterError, jobs.ClusterUnreachable, jobs.TokenRefused, jobs.JobRejected]
    return tuple(errors)


def main(argv: list[str] | None = None) -> None:
    args = sys.argv[1:] if argv is None else argv
    if sys.stdout is None:  # closed by `>&-`
        sys.stdout = io.StringIO()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what is being written is tidied away
    sys.exit(run(args))


def run(args: list[str]) -> int:
    """Runs one command line and returns its exit status."""
    if not args or args[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if args[0] == "--version":
        print(metadata.version("tandem-lab"))
        return 0
    if args[0] not in COMMANDS:
        return _fail(f"command {args[0]!r} does not exist; allowed: {', '.join(COMMANDS)}", 2)
    module, _, function = COMMANDS[args[0]][0].partition(":")
    try:
        command: Callable[[list[str]], int] = getattr(importlib.import_module(module), function)
        return command(args[1:])
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `tandem logs ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        return _explain(error)


def _explain(error: Exception) -> int:
    if os.environ.get("TANDEM_DEBUG"):
        _say(traceback.format_exc())
    if isinstance(error, _user_errors()):
        return _fail(str(error), 2)
    if type(error).__name__ == "RunFailed":
        return _fail(str(error), 1)
    if isinstance(error, OSError) and error.strerror:  # a full disk, a name that is too long
        return _fail(f"{error.strerror}{f': {str(error.filename)[:200]!r}' if error.filename else ''}", 1)
    _say(traceback.format_exc())
    return 1


def _fail(text: str, status: int) -> int:
    _say(f"tandem: {text}\n")
    return status


def _say(text: str) -> None:
    """Onto stderr, with nothing in it that a terminal would obey."""
    from experiments.flags import escaped  # imports tyro

    print(escaped(text), end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
