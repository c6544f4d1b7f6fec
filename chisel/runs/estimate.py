"""What a study will take, before anyone spends it."""

import time
from typing import TYPE_CHECKING, NamedTuple

from chisel.build.schedules import doubts
from chisel.devices import use_devices
from chisel.progress import News, Tell, silent
from chisel.study.files import WrongInput
from chisel.study.study import Study

if TYPE_CHECKING:
    from chisel.build.budget import Budget


BASE = 2**30  # bytes of JAX and its programs
COPIES = 4  # of the state: before and after an update on the devices, on the host, and with Orbax


class Estimate(NamedTuple):
    """What a study will take.

    Fields:
        members, updates: how many, and of each.
        steps: environment steps of all members.
        trained: of these, what is trained: what members share, once.
        memory: bytes: of JAX and its programs, and of all members' state as often as training holds it; a guess.
        checkpoints: environment steps of each member at which the population is saved.
        disk: bytes of all checkpoints, before compression.
        compiling, training: seconds; None if not measured.
        devices: how many are used.
        scales: the factor on the weights of every schedule that has one, its own or that of a match.
        budgets: what every phase of every schedule expects to pay.
        doubts: what a reader should know before the study is run.
    """

    members: int
    updates: int
    steps: int
    trained: int
    memory: int
    checkpoints: list[int]
    disk: int
    devices: int
    scales: dict[str, float]
    budgets: "dict[str, list[Budget]]"
    doubts: list[str]
    compiling: float | None = None
    training: float | None = None


def within_limits(study: Study, devices: int | None = None, tell: Tell = silent) -> None:
    """Refuses what would take more than the study allows.

    Raises:
        WrongInput: it would; the message says how much would fit.
    """
    limits = study.limits
    if limits is None:
        return
    found = check(study, devices, measure=limits.hours is not None, tell=tell)
    members = f"{found.members} members ({len(study.schedule)} schedules × {study.training.seeds} seeds)"
    advice = "; expected fewer seeds, schedules, phases or conditions"
    if limits.memory is not None and found.memory > limits.memory * 2**30:
        took = f"{found.memory / 2**30:.2g} GiB"
        raise WrongInput(f"study: limits.memory is {limits.memory:g} GiB; its {members} take about {took}{advice}")
    if limits.hours is not None and found.training is not None and found.training > limits.hours * 3600:
        took = f"{found.training / 3600:.2g} hours"
        raise WrongInput(
            f"study: limits.hours is {limits.hours:g}; training {members} takes about {took}{advice}, or steps"
        )


def check(study: Study, devices: int | None = None, measure: bool = True, tell: Tell = silent) -> Estimate:
    """What a study will take, without writing anything.

    Args:
        measure: compile the study's own program and time a few updates of it, instead of guessing.
    """
    use_devices(devices)
    import jax

    from chisel.build.budget import budgets, matched
    from chisel.build.build import resolve
    from chisel.runs.train import population_of, sharing_of

    study = matched(study)
    population, keys = population_of(study, devices)
    training, plan = study.training, study.checkpoint_updates
    state = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(population.shapes(keys, 0)[0]))
    trained = sharing_of(study, resolve(study)).trained(study.start, training.updates)
    found = Estimate(
        members=population.members,
        updates=training.updates,
        steps=(training.updates - study.start) * training.batch * population.members,
        trained=trained * training.batch,
        memory=BASE + COPIES * state,
        checkpoints=[u * training.batch for u in plan],
        disk=state * len(plan),
        devices=population.mesh.size,
        scales={part.name: part.scale for part in study.schedule if part.scale is not None},
        budgets=budgets(study),
        doubts=doubts(study, population.plan.world),
    )
    if not measure:
        return found
    tell(News("compiling", text="training"))
    start = time.perf_counter()
    members = population.new(keys)
    population.compile(members)
    compiled = time.perf_counter()
    few = min(2, training.updates)
    population.advance(members, few)
    spent = time.perf_counter() - compiled
    whole = spent / few / population.members * trained
    return found._replace(compiling=compiled - start, training=whole)
