"""From what a study says about its agent to the agent, with what does not fit its world refused."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chisel.study.agents import NO_TEMPERATURE, OF_VALUES, DQNPart, ReinforcePart, temperature_of
from chisel.study.files import WrongInput
from chisel.study.study import Study
from chisel.study.terms import ChannelPart, values

if TYPE_CHECKING:
    from chisel.agents.agent import Agent
    from chisel.agents.networks import Network
    from chisel.worlds.world import World

HEADS = {False: "values", True: "dueling"}


def check_agent(study: Study, world: "World", at: Callable[..., str]) -> None:
    """Checks that the agent can be one of this world.

    Args:
        at: (*keys) -> how a complaint about that place begins.

    Raises:
        WrongInput: it cannot; the message says why.
    """
    from chisel.worlds.world import names

    agent, shape = study.agent, names(world).observation.shape
    if getattr(agent.network, "channels", None) and len(shape) != 3:
        key, fits = ("kind", "'mlp'") if agent.network.kind == "conv" else ("channels", "none")
        raise WrongInput(
            f"{at('agent', 'network', key)} is {getattr(agent.network, key)!r}; what the agent sees of {world.name!r} "
            f"has the shape {shape} and not [height, width, planes]; expected {fits}"
        )
    if isinstance(agent, ReinforcePart) and study.training.rollout < world.limit:
        raise WrongInput(
            f"{at('training', 'rollout')} is {study.training.rollout}; the learner 'reinforce' learns from episodes "
            f"that it sees to their end, which in {world.name!r} are up to {world.limit} steps long; "
            f"expected at least {world.limit}, better {2 * world.limit}"
        )
    if isinstance(agent, OF_VALUES):
        _refuse_entropy(study, at)
    _check_temperature(study, at)
    if getattr(agent, "critic", "single") == "per_channel":
        _refuse_late_pay(study, at)


def _refuse_entropy(study: Study, at: Callable[..., str]) -> None:
    for loc, situation in study.situations():
        if situation.entropy is not None:
            where = at(*loc, "entropy")
            raise WrongInput(
                f"{where}: the learner {study.agent.learner!r} has no entropy bonus; it explores by `temperature` or "
                "`exploration`"
            )


def _check_temperature(study: Study, at: Callable[..., str]) -> None:
    """Refuses temperatures of what is no softmax of action values, and changes between soft and greedy."""
    from chisel.build.schedules import softens

    told = [(at(*loc, "temperature"), s.temperature) for loc, s in study.situations() if s.temperature is not None]
    if not isinstance(study.agent, OF_VALUES):
        for where, _ in told:
            raise WrongInput(f"{where}: the learner {study.agent.learner!r} {NO_TEMPERATURE}")
    told.append((at("agent", "temperature"), temperature_of(study.agent)))
    for where, amount in told:
        if softens(study) and 0.0 in values(amount):
            raise WrongInput(
                f"{where} is 0 (greedy) at some time, and the temperature is not 0 at others: bids would change from "
                "log-odds to differences of values; expected more than 0 everywhere, such as 0.001, or 0 everywhere"
            )


def _refuse_late_pay(study: Study, at: Callable[..., str]) -> None:
    for loc, table in study.reward_tables():
        for name, term in table.items():
            late = [k for k in ("delay", "lump") if isinstance(term, ChannelPart) and any(values(getattr(term, k)))]
            if late:
                raise WrongInput(
                    f"{at(*loc, name, late[0])}: what is paid later is not told apart by channel; "
                    f"expected agent.critic = 'single', or no {late[0]}"
                )


def agent_in_words(study: Study) -> str:
    """What learns, in a few words: `ppo, gru of 64, 64 units, seeing 5 × 5 cells`."""
    told = study.agent
    network = f"{told.network.kind} of {', '.join(map(str, told.network.widths))} units"
    seeing = f", seeing {study.view} × {study.view} cells" if study.view is not None else ""
    return f"{told.learner}, {network}{seeing}"


def make_network(study: Study, world: "World") -> "Network":
    """The study's network over the world's observations and actions."""
    from chisel.agents.networks import Form
    from chisel.agents.networks import make_network as make
    from chisel.agents.policy import masked, softmax_policy
    from chisel.build.schedules import softens
    from chisel.worlds.world import names

    known, told = names(world), study.agent.network
    form = Form(
        widths=tuple(told.widths),
        channels=tuple(getattr(told, "channels", ())),
        recurrent=told.kind == "gru",
        separate=told.separate,
        parts=_parts(study, world),
        activation=told.activation,
        dtype=told.dtype,
        layer_norm=told.layer_norm,
    )
    head = HEADS[getattr(study.agent, "dueling", False)] if isinstance(study.agent, OF_VALUES) else "policy"
    network = make(known.observation, len(world.actions), form, head)
    network = network if world.legal is None else masked(network, world.legal, known.observation)
    return softmax_policy(network) if softens(study) else network


def _parts(study: Study, world: "World") -> int | None:
    """How many parts of the reward have a value head of their own; None where one is for all."""
    from chisel.build.schedules import needs
    from chisel.worlds.world import names

    if getattr(study.agent, "critic", "single") == "single":
        return None
    return len(names(world).channels) + bool(needs(study, world).potentials)


def make_agent(study: Study, world: "World") -> "Agent":
    """The study's learner over its network."""
    from chisel.agents import dqn, policy_gradient, ppo, pqn
    from chisel.worlds.world import names

    network, told = make_network(study, world), study.agent
    if isinstance(told, DQNPart):
        training = study.training
        settings = _settings(
            dqn.Settings,
            study,
            world,
            hop=told.n_step,
            rows=told.replay // training.worlds,
            warmup=-(-told.warmup // training.worlds),
            descents=told.gradient_steps,
        )
        return dqn.dqn(network, settings, names(world).observation, training.worlds, world.limit)
    learners: dict[str, tuple[Any, Any]] = {
        "ppo": (ppo.ppo, ppo.Settings),
        "pqn": (pqn.pqn, pqn.Settings),
        "a2c": (policy_gradient.a2c, policy_gradient.A2CSettings),
        "reinforce": (policy_gradient.reinforce, policy_gradient.ReinforceSettings),
    }
    make, kind = learners[told.learner]
    return make(network, _settings(kind, study, world))


def _settings(kind: Any, study: Study, world: "World", **more: Any) -> Any:
    """The settings of a learner, from keys of the study that are called like its fields."""
    told = {k: getattr(study.agent, k) for k in kind._fields if k not in more}
    if world.alternating:  # what the other player gets next counts against this one
        told["discount"] = -told["discount"]
    return kind(**told, **more)
