"""`tandem play`: what the browser gets, the controls, and that the match goes on whoever comes and goes."""

import http.client
import io
import json
import threading
import time
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from envs.fakes import meet
from experiments import play
from experiments.stream import Screen, serve
from marl.evaluation import Sides, Slot, as_player, evaluate
from tests.marl.conftest import MeetConfig

RED = np.full((40, 60, 3), (200, 30, 30), np.uint8)


@pytest.fixture
def served():
    """(screen, URL without the slash, port) of a server that shows a red picture."""
    screen = Screen()
    server, url = serve(screen, 0)
    screen.show(RED, {"state": "step 1"})
    yield screen, url.rstrip("/"), server.server_address[1]
    screen.close()
    server.shutdown()
    server.server_close()


def post(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", path)
    return connection.getresponse().status


def stage_of(env, who="random"):
    slot, player = Slot(env), as_player(who)
    return play.Stage(slot, Sides(player, None, slot), who, None)


def wait_until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_page_the_picture_and_the_words(served):
    _, url, _ = served
    page = urlopen(url + "/", timeout=10).read().decode()
    assert 'src="/stream"' in page
    picture = np.asarray(Image.open(io.BytesIO(urlopen(url + "/frame.jpg", timeout=10).read())))
    assert np.abs(picture.astype(int) - RED).max() < 8
    facts = json.loads(urlopen(url + "/facts", timeout=10).read())
    assert facts == {"state": "step 1", "paused": False, "attention": True}


def read_picture(stream):
    """The next JPEG of a multipart stream, by its own lines."""
    assert stream.readline() == b"--next-picture\r\n"
    assert stream.readline() == b"Content-Type: image/jpeg\r\n"
    size = int(stream.readline().split(b":")[1])
    assert stream.readline() == b"\r\n"
    picture = Image.open(io.BytesIO(stream.read(size)))
    assert stream.readline() == b"\r\n"
    return np.asarray(picture).astype(int)


def test_the_stream_has_every_new_picture_and_repeats_the_last(served):
    screen, url, _ = served
    with urlopen(url + "/stream", timeout=10) as stream:
        assert stream.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=next-picture"
        assert np.abs(read_picture(stream) - RED).max() < 8
        screen.show(RED[..., ::-1], {})
        assert np.abs(read_picture(stream) - RED[..., ::-1]).max() < 8
        assert np.abs(read_picture(stream) - RED[..., ::-1]).max() < 8


def test_a_browser_that_goes_away_stops_nobody(served):
    screen, url, _ = served
    before = threading.active_count()
    streams = [urlopen(url + "/stream", timeout=10) for _ in range(3)]
    for stream in streams:
        stream.read(10)
    for stream in streams:
        stream.close()
    for _ in range(20):
        screen.show(RED, {})
        time.sleep(0.02)
    wait_until(lambda: threading.active_count() <= before)
    assert urlopen(url + "/facts", timeout=10).status == 200


def test_the_controls(served):
    screen, _, port = served
    assert (post(port, "/pause"), screen.paused) == (204, True)
    assert (post(port, "/pause"), screen.paused) == (204, False)
    assert (post(port, "/attention"), screen.attention) == (204, False)
    screen.ask("pause")
    assert (post(port, "/next"), screen.next, screen.paused) == (204, True, False)
    assert post(port, "/stop") == 404


def test_a_port_that_is_taken_is_told(served):
    _, _, port = served
    with pytest.raises(ValueError, match=rf"^cannot listen on port {port}: Address already in use; give another"):
        serve(Screen(), port)


def test_it_ends_after_so_many_steps_over_several_episodes(monkeypatch):
    monkeypatch.setattr(play, "HOLD_S", 0.0)
    stage, screen, seen = stage_of(meet(2, side=9, steps=4)), Screen(), []
    monkeypatch.setattr(screen, "show", lambda picture, facts: seen.append(facts["state"]))
    play.perform(stage, screen, first=7, steps=9, pause_s=0.0)
    moments = [(7, step) for step in range(5)] + [(8, step) for step in range(5)] + [(9, 0), (9, 1)]
    assert seen == [f"fake/meet · episode {number} · step {step}" for number, step in moments]
    assert stage.last.startswith("episode 8: return mean")


def test_episodes_are_those_of_an_evaluation(monkeypatch):
    monkeypatch.setattr(play, "HOLD_S", 0.0)
    stage = stage_of(MeetConfig(players=2).build())
    play.perform(stage, Screen(), first=3, steps=9, pause_s=0.0)
    expected = evaluate("random", MeetConfig(players=2), episodes=4)[3]
    assert f"return mean {expected.return_mean:.3g}" in stage.last


def test_pause_next_and_the_end_reach_a_match_that_is_on():
    stage, screen = stage_of(meet(2, side=9, steps=1000)), Screen()
    thread = threading.Thread(
        target=play.perform,
        args=(stage, screen),
        kwargs={"first": 0, "steps": None, "pause_s": 0.001},
        daemon=True,  # or a failure here would keep the whole test run from ending
    )
    thread.start()
    wait_until(lambda: getattr(stage.slot, "length", 0) > 3)
    screen.ask("pause")
    wait_until(lambda: json.loads(screen.facts())["paused"])
    time.sleep(0.1)  # a step that had begun may end
    held = stage.slot.length
    time.sleep(0.1)
    assert stage.slot.length == held
    screen.ask("next")
    wait_until(lambda: stage.slot.number > 0)
    screen.close()
    thread.join(20)
    assert not thread.is_alive()


def test_ctrl_c_ends_it_well(tandem, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    stage = stage_of(meet(2))
    monkeypatch.setattr(play, "_stage", lambda command: stage)
    monkeypatch.setattr(play, "perform", interrupt)
    status, out, err = tandem("play", "random", "--no-browser")
    assert (status, err) == (0, "")
    assert "http://127.0.0.1:" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere"], "nowhere does not exist; give a run folder"),
        (["random"], "random: no trained policy says where to play; name one with --env"),
        (["random", "--env", "football/nowhere"], "level of football 'nowhere' does not exist"),
        (["random", "--env", "lab2d/clean_up", "--against", "idle"], "clean_up has one team and no other side"),
        (["random", "--fps", "0"], "--fps must be between 0.1 and 120, got 0.0"),
        (["random", "--steps", "0"], "--steps must be at least 1, got 0"),
        (["random", "--port", "70000"], "--port must be between 0 and 65535, got 70000"),
    ],
)
def test_a_wrong_value_is_answered_in_one_sentence(tandem, args, message):
    status, _, err = tandem("play", *args)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.engine("football")
def test_a_match_of_football_is_played(tandem):
    args = ["--env", "football/1_vs_1_easy", "--against", "scripted", "--steps", 3, "--fps", 100, "--no-browser"]
    status, out, _ = tandem("play", "random", *args)
    assert status == 0
    assert out.startswith("football/1_vs_1_easy, random against scripted: http://127.0.0.1:")
