"""The `tandem` command: what it answers, and with which exit status."""

import json

import pytest

from experiments import cli, presets, runs


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    status = cli.run(list(args))
    out = capsys.readouterr()
    return status, out.out, out.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nonsense"], "command 'nonsense' does not exist; allowed: quickstart, presets"),
        (["train"], "no preset was named"),
        (["train", "nope"], "preset 'nope' does not exist; allowed: lab2d-harvest-independent"),
        (["train", "lab2d-harvest-acam", "--env.player", "3"], "perhaps you meant --env.players"),
        (["train", "lab2d-harvest-acam", "--env.players", "33"], "cannot have 33 players; allowed: 1 to 20"),
        (["train", "lab2d-harvest-acam", "--env.players", "x"], "--env.players: no type matching {None}|INT"),
        (["train", "lab2d-harvest-acam", "--env.view", "foo"], "invalid choice 'foo' for argument '--env.view'"),
        (["train", "lab2d-harvest-acam", "--env.level", "foo"], "lab2d level 'foo' does not exist; allowed: "),
        (["train", "football-3v1-acam", "--env.level", "foo"], "level of football 'foo' does not exist; allowed: acad"),
        (["train", "football-3v1-acam", "--env.players", "4"], "players of team_3_vs_1_with_keeper"),
        (
            ["train", "lab2d-harvest-acam", "--ppo.learning-rate", "-1"],
            "learning_rate must be positive and finite, got -1.0",
        ),
        (["train", "lab2d-harvest-acam", "--network.heads", "3"], "width must be a multiple of heads"),
        (["train", "lab2d-harvest-acam", "--runners.num-envs", "9999"], "batch_env_steps must be at least"),
        (["train", "--resume", "/nope"], "/nope is not a run folder"),
        (["train", "lab2d-harvest-acam", "--resume", "/nope"], "give a preset or --resume RUN, not both"),
        (["train", "--resume"], "--resume needs a value"),
        (["eval", "/nope"], "/nope does not exist"),
        (["eval"], "RUN is missing"),
        (["video", "/nope", "-o", "x.avi"], "cannot write a video as 'x.avi'; allowed suffixes: .mp4, .gif, .webp"),
        (["train", "lab2d-harvest-acam", "--ppo.learning-rate", "inf"], "must be positive and finite, got inf"),
        (["train", "lab2d-harvest-acam", "--seed", "99999999999"], "seed must be below 2^32"),
        (["train", "tiny-lab2d-harvest-acam", "--runs-dir", "/proc/x"], "cannot make a run folder under /proc/x"),
        (["eval", "/tmp", "--output", "/proc/x/y.jsonl"], "cannot write /proc/x/y.jsonl"),
        (["submit", "--address"], "--address needs a value"),
        (["submit", "train", "lab2d-harvest-acam", "--env-steps", "-1"], "env_steps must be positive"),
        (["submit", "eval"], "only train, pretrain, distill and study can be submitted, got 'eval'"),
        (["submit", "train", "nope"], "preset 'nope' does not exist"),
        (["submit", "pretrain", "nope"], "preset 'nope' does not exist"),
        (["submit", "pretrain", "lab2d-harvest-acam"], "--data is missing"),
        (["submit", "pretrain", "lab2d-harvest-acam", "--data", "d", "--stesp", "3"], "perhaps you meant --steps"),
        (["submit", "study", "agent-centric", "--size", "huge"], "invalid choice 'huge'"),
        (["eval", "random", "--against"], "--against needs at least one value"),
        (["eval", "random", "--against", "--env", "football/5_vs_5"], "--against needs at least one value"),
        (["eval", "random", "--episodes", "1" + 30 * "0"], "--episodes must be at most 100,000, got 1,000,000,000,000"),
        (
            ["eval", "random", "--against", "idle", "--pairs", "1000000"],
            "--pairs must be at most 10,000, got 1,000,000",
        ),
        (["eval", "random", "--workers", "1000000"], "--workers must be at most 256, got 1,000,000"),
        (["record", "football/5_vs_5", "--policy", "-o", "d", "--episodes", "1"], "--policy needs at least one value"),
        (["study", "agent-centric", "--tasks", "--dry-run"], "--tasks needs at least one value"),
        (["submit", "--adress", "x", "train", "lab2d-harvest-acam"], "'--adress' is not a flag of submit"),
        (["cluster", "sideways"], "invalid choice 'sideways'"),
        (["bench", "nothing"], "invalid choice 'nothing'"),
    ],
)
def test_a_wrong_value_is_one_sentence_and_writes_nothing(args, said, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *args)
    assert status == 2
    assert err.startswith("tandem: ")
    assert err.count("\n") == 1
    assert said in err
    assert "Traceback" not in out + err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["\x1b[2J"], r"tandem: command '\x1b[2J' does not exist"),
        (["eval", "no\x1b[2J\x07\x9b\u202e"], r"tandem: no\x1b[2J\x07\x9b\u202e does not exist"),
        (["train", "--resume", "no\r\udc80é"], r"tandem: no\r\udc80é is not a run folder"),
    ],
)
def test_a_terminal_obeys_no_error(args, said, capsys) -> None:
    status, _, err = run(capsys, *args)
    assert (status, err[: len(said)]) == (2, said)
    assert err.rstrip("\n").isprintable()


def test_a_bug_shows_no_control_characters_either(capsys, monkeypatch) -> None:
    import experiments.listing

    def broken(args: list[str]) -> int:
        raise KeyError("\x1b[2J", "a\tb\n") from OSError("\x1b[2J")

    monkeypatch.setattr(experiments.listing, "envs_command", broken)
    assert "\x1b" not in run(capsys, "envs")[2]


def test_damaged_run_folders_are_named(capsys, tmp_path) -> None:
    (tmp_path / "config.json").write_text('{"preset": "lab2d-harvest-acam", "conf')
    assert f"{tmp_path / 'config.json'} cannot be read" in run(capsys, "train", "--resume", str(tmp_path))[2]
    record = {"preset": "x", "config": runs.config_to_json(presets.get("lab2d-harvest-acam").make())}
    record["config"]["unheard_of"] = 1
    (tmp_path / "config.json").write_text(json.dumps(record))
    assert "unheard_of" in run(capsys, "train", "--resume", str(tmp_path))[2]


def test_a_run_keeps_its_environment_and_seed_when_it_goes_on(capsys, tmp_path) -> None:
    folder = runs.create(tmp_path, "lab2d-harvest-acam", presets.get("lab2d-harvest-acam").make(), [])
    for flag in (("--seed", "5"), ("--env.players", "3"), ("--network.width", "32")):
        status, _, err = run(capsys, "train", "--resume", str(folder), *flag)
        assert status == 2
        assert "cannot change when it goes on" in err


@pytest.mark.parametrize("command", [*cli.COMMANDS, "train lab2d-harvest-acam"])
def test_every_command_has_help_with_an_example(command, capsys) -> None:
    try:
        status = cli.run([*command.split(), "--help"])
    except SystemExit as end:  # tyro prints and exits
        status = end.code
    assert status == 0
    out = capsys.readouterr().out
    assert "Example: tandem " in out
    assert f"tandem {command.split()[0]}" in out


def test_dry_run_prints_the_resolved_configuration_and_writes_nothing(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = run(
        capsys, "train", "football-3v1-acam", "--ppo.learning-rate", "0.002", "--seed", "7", "--dry-run"
    )
    assert status == 0
    shown = json.loads(out)
    config = runs.config_from_json(shown["config"])
    assert (config.ppo.learning_rate, config.seed, config.env.level) == (0.002, 7, "team_3_vs_1_with_keeper")
    assert list(tmp_path.iterdir()) == []


def test_listings_name_every_preset_and_environment(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = run(capsys, "presets")[1]
    for name, preset in presets.all_presets().items():
        assert name in out
        assert preset.expected
    assert "`tandem study agent-centric`" in out.splitlines()[-1]
    assert "--pretrained" in out.splitlines()[-1]
    import envs

    out = run(capsys, "envs")[1]
    for name in envs.names():
        assert name in out


def test_a_bug_keeps_its_traceback_and_exit_status_1(capsys, monkeypatch) -> None:
    def broken(args: list[str]) -> int:
        raise KeyError("a bug, not a wrong value")

    import experiments.listing

    monkeypatch.setattr(experiments.listing, "envs_command", broken)
    status, _, err = run(capsys, "envs")
    assert status == 1
    assert "Traceback" in err
    assert "a bug, not a wrong value" in err


def test_a_missing_engine_names_the_extra_and_writes_nothing(capsys, tmp_path, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "dmlab2d", None)
    status, _, err = run(capsys, "train", "tiny-lab2d-harvest-acam", "--runs-dir", str(tmp_path / "runs"))
    assert status == 2
    assert "tandem-lab[lab2d]" in err
    assert list(tmp_path.iterdir()) == []
