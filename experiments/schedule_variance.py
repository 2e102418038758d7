"""`tandem eval RUN --schedules`: what the bound's estimate varies by under other noise schedules with the same ends."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from experiments.flags import say
from experiments.progress import Steps
from generative import schedules, watch
from generative.data import ImageSet

if TYPE_CHECKING:
    from generative.papers.vdm import VDM


def compare(model: "VDM", images: ImageSet, *, count: int | None, times: int, seed: int) -> None:
    """Prints a row per schedule: bits per dimension, which no schedule changes in continuous time but for the noise of
    the estimate, and the variance of what a single noise level says of a picture (VDM, Sec 5.3)."""
    ends = dict(zip(("log_snr_max", "log_snr_min"), (end.item() for end in model.ends()), strict=True))
    others: dict[str, schedules.Schedule | None] = {
        "the model's own": None,
        "linear": schedules.Linear(**ends),
        "cosine": schedules.Cosine(**ends),
        "DDPM's betas": schedules.Rescaled(schedule=schedules.Betas(), **ends),
    }
    table = Table(title="the same network under other schedules with the same ends, continuous time")
    for heading in ("schedule", "bits/dimension", "variance of one level's estimate", "ratio"):
        table.add_column(heading, justify="left" if heading == "schedule" else "right")
    own = 0.0
    for name, schedule in others.items():
        with Steps(f"schedule {name}", 1) as progress:
            found = watch.evaluate(
                model,
                images,
                times=times,
                num_steps=0,
                count=count,
                seed=seed,
                schedule=schedule,
                progress=lambda done, total: progress.update(done / total),
            )
        variance = found.estimator_variance()
        own = own or variance
        table.add_row(name, f"{found.bpd():.4f}", f"{variance:.3f}", f"{variance / own:.2f}")
    Console().print(table)
    say("variances in (bits/dimension)^2, over pictures, noise levels and noise")
