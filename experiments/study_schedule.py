"""Runs the nodes of a study on Ray: each in a process of its own, as many side by side as the cluster has CPUs for."""

import os
import time
from collections.abc import Callable
from typing import Any

from experiments import halves
from experiments.study_cells import set_aside, state, work
from experiments.study_plan import Node

POLL_S = 2.0
RETRIES = 3
"""How often a node goes on whose process died (a lost machine, no memory)."""
STOP_S = 60.0
"""How long cells may take to save themselves when the study is stopped."""
Told = Callable[[str], None]


def cpus(node: Node) -> list[dict[str, float]]:
    """Ray resources of a node, process by process."""
    return halves.of(node.config).bundles(node.config, gpu=False) if node.kind == "cell" else [{"CPU": 1.0}]


class Schedule:
    """Nodes on their way: waiting, running, done, failed. Owns the Ray tasks and their placement groups."""

    def __init__(self, nodes: list[Node], tell: Told) -> None:
        import ray
        import ray.util

        self.ray, self.tell = ray, tell
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}
        """Key -> why."""
        self.waiting: list[Node] = []
        self.running: dict[Any, tuple[Node, Any, float]] = {}
        """Ray reference -> node, placement group, when it began."""
        for node in nodes:
            found = state(node)
            if found == "done":
                self.done.add(node.key)
                continue
            if found == "stale" and (moved := set_aside(node)):
                tell(f"{node.key} was made for another configuration and does not count; it is kept as {moved}")
            self.waiting.append(node)

    def start_ready(self) -> None:
        """Starts what has all that it needs; gives up what needs something that failed."""
        free = self.ray.cluster_resources().get("CPU", 1.0) - sum(
            sum(bundle["CPU"] for bundle in cpus(node)) for node, _, _ in self.running.values()
        )
        for node in list(self.waiting):
            lost = [need for need in node.needs if need in self.failed]
            size = sum(bundle["CPU"] for bundle in cpus(node))
            if lost:
                self.failed[node.key] = f"{lost[0]} failed"
                self.waiting.remove(node)
            elif all(need in self.done for need in node.needs) and size <= free:
                free -= size
                self.waiting.remove(node)
                self._start(node)

    def _start(self, node: Node) -> None:
        from ray.util import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        group = placement_group(cpus(node), strategy="PACK")
        strategy = PlacementGroupSchedulingStrategy(
            placement_group=group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
        )
        # A process for each: torch, the engines and RLlib leave too much behind in one that is used again.
        task = self.ray.remote(num_cpus=1, max_calls=1, max_retries=RETRIES)(work).options(
            scheduling_strategy=strategy, name=node.key
        )
        self.running[task.remote(node)] = (node, group, time.monotonic())

    def collect(self) -> None:
        """Waits a little, and takes in what has ended."""
        ended, _ = self.ray.wait(list(self.running), timeout=POLL_S)
        for reference in ended:
            node, group, began = self.running.pop(reference)
            try:
                why = self.ray.get(reference)
            except Exception as error:  # the process died as often as it may
                why = f"{type(error).__name__}: {str(error).strip().splitlines()[-1][:300]}"
            self.ray.util.remove_placement_group(group)
            if why or state(node) != "done":
                self.failed[node.key] = why or "it ended without a result"
                self.tell(f"{node.key} failed: {self.failed[node.key]}")
            else:
                self.done.add(node.key)
                self.tell(f"{node.key} done in {time.monotonic() - began:.0f} s")

    def stop(self) -> None:
        """Asks what runs to save itself and end."""
        for reference in self.running:
            self.ray.cancel(reference)
        if self.running:
            self.tell("stopping: running cells save a checkpoint")
            self.ray.wait(list(self.running), num_returns=len(self.running), timeout=STOP_S)


def run(nodes: list[Node], tell: Told, progress: Callable[[Schedule], None]) -> dict[str, str]:
    """Does every node that is not done. Returns {key: why} of those that failed; the others are done.

    Raises: ValueError for a cell that needs more CPUs than the cluster has.
    """
    from marl.training import sigterm_as_interrupt

    largest = max((sum(bundle["CPU"] for bundle in cpus(node)) for node in nodes), default=1.0)
    for half in {halves.of(node.config).NAME: halves.of(node.config) for node in nodes}.values():
        half.start_ray(max(int(largest), os.cpu_count() or 1))
    schedule = Schedule(nodes, tell)
    have = schedule.ray.cluster_resources().get("CPU", 0.0)
    if largest > have:
        raise ValueError(f"a cell needs {largest:.0f} CPUs, but the cluster has {have:.0f}")
    with sigterm_as_interrupt():
        try:
            while schedule.waiting or schedule.running:
                schedule.start_ready()
                if schedule.running:
                    schedule.collect()
                progress(schedule)
        except BaseException:
            schedule.stop()
            raise
    return schedule.failed
