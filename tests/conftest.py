"""What all tests share: one thread, engines that must be there, and the session's one Ray instance."""

import importlib.util
import os
import secrets
import signal
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from experiments.cluster import ClusterInfo

# Before torch, NumPy or Ray are imported; they read these once. One thread: the tests run on two cores beside actors,
# and a reduction's order (so its last bits) depends on the number of threads.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
# Ray asks for a token; this session's own keeps it from writing one into the home folder of whoever runs the tests.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# A shell's background jobs ignore the keyboard's interrupt, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

ENGINES = {
    "football": ("gfootball_engine", "run `make engine`"),
    "lab2d": ("dmlab2d", "install tandem-lab[lab2d]"),
}
"""Engine -> (module, how to get it)."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`pytest -n 2` keeps a file in one process, for the sake of what its tests share, and all files that start Ray in
    one process: one instance in a test run, never two beside one another."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "ray" if _starts_ray(config.rootpath / file) else file

    return ByFile(config, log)


@cache
def _starts_ray(file: Path) -> bool:
    return "pytest.mark.ray" in file.read_text()


@pytest.fixture(autouse=True)
def _engine_is_there(request: pytest.FixtureRequest) -> None:
    """Fails, rather than skips, a test marked `engine` or `engine("football")` where that engine is not installed:
    a suite that skips silently on a broken installation shows nothing."""
    marker = request.node.get_closest_marker("engine")
    if marker is None:
        return
    for engine in marker.args or ENGINES:
        module, remedy = ENGINES[engine]
        if importlib.util.find_spec(module) is None:
            pytest.fail(f"this test needs the {engine} engine, but {module} is not installed: {remedy}", pytrace=False)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[Any]:
    """The `ray` module with one local instance of 4 logical CPUs, started by the first test that asks for it."""
    import ray
    from ray._raylet import AuthenticationTokenLoader

    # A test that talked to another cluster leaves its token in Ray's cache, and the new instance would refuse us.
    AuthenticationTokenLoader.instance().reset_cache()

    def start() -> None:
        # address="local": never join a cluster that happens to run on this machine or that RAY_ADDRESS names.
        ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            object_store_memory=200 * 2**20,
            log_to_driver=False,
        )

    try:
        start()
    except Exception:  # A loaded machine can miss Ray's start-up time limit once; a second miss is a real failure.
        ray.shutdown()
        time.sleep(5)
        start()
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def ray_head(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[ClusterInfo]":
    """A `tandem cluster up` with 2 CPUs on free ports, for tests of Ray jobs. Its TANDEM_HOME is set for the session,
    so the `tandem` command finds it by itself; the folder is gone with the head."""
    from experiments import cluster

    os.environ["TANDEM_HOME"] = str(tmp_path_factory.mktemp("tandem_home"))
    try:
        yield cluster.up(port=0, dashboard_port=0, num_cpus=2, object_store_mb=100)
    finally:
        cluster.down()
        del os.environ["TANDEM_HOME"]
