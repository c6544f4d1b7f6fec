"""Acting in worlds. The one place that knows the time limit, the reset, and termination from truncation.

Terminated: the world says it is over (`world.ended`). Truncated: the time limit cut the episode off. A step is never
both.

New levels come from a deck that is drawn at the beginning of a rollout and dealt in order to the worlds whose episodes
are over, since drawing one for every world at every step would cost more than the steps (decision 9).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from chisel.agents.networks import Memory
from chisel.agents.policy import FORBIDDEN, Actor, Luck, forgetful
from chisel.worlds.world import State, World, vector


def at_random(world: World) -> Actor:
    """Chance: every legal action alike."""

    def choose(key: Array, observations: Array) -> Array:
        logits = jnp.zeros((len(observations), len(world.actions)))
        if world.legal is not None:
            logits = jnp.where(jax.vmap(world.legal)(observations), logits, FORBIDDEN)
        return jax.random.categorical(key, logits)

    return forgetful(choose)


FEW = 16  # worlds, of which a step takes hardly longer than the turn of the loop around it


class Playing(NamedTuple):
    """Worlds in the middle of their episodes; every field starts with [worlds]."""

    state: State
    age: Int[Array, " worlds"]  # steps of the time limit used up in this episode
    opening: Int[Array, ""]  # steps until finished episodes count in `Episodes`, see `begin`
    totals: Float[Array, "worlds channels"]  # what happened in it so far, per channel, unweighted
    memory: Memory = None  # what the agent remembers of it


class Episodes(NamedTuple):
    """The episodes that finished during a rollout, but for those of the opening, see `begin`."""

    finished: Int[Array, ""]  # how many
    steps: Float[Array, ""]  # mean length; NaN if none finished
    totals: Float[Array, " channels"]  # mean of each channel's sum over the episode; NaN if none finished


class Rollout(NamedTuple):
    """What happened; facts only, no reward. Arrays are [time, worlds, …] unless said otherwise."""

    observations: Array
    actions: Int[Array, "time worlds"]
    facts: Float[Array, "time worlds channels"]
    before: Float[Array, "time worlds potentials"]
    after: Float[Array, "time worlds potentials"]
    gates: Float[Array, "time worlds gates"]  # 1 where a condition holds after the step
    ended: Bool[Array, "time worlds"]
    truncated: Bool[Array, "time worlds"]
    finals: Array  # [slots, …] observations after truncated steps, in time-major order
    last: Array  # [worlds, …]
    episodes: Episodes


def begin(
    world: World, key: Array, worlds: int, channels: int, params: dict[str, Array], memory: Memory = None
) -> Playing:
    """Fresh worlds whose clocks are spread over the time limit, so that not all are cut off at one step for ever.

    Episodes count only once a full horizon (`world.limit` steps) has passed. Before, only short ones can have finished
    whole, and a mean over them would be length-biased (Cox 1962, *Renewal Theory*: sampling intervals by the moment of
    their end is fair only where every length had the time to begin). Leaving out those that *began* early instead would
    move the same bias one horizon on. The first episode of a world, which its clock cuts short, ends before then.
    """
    reset_key, age_key = jax.random.split(key)
    state = jax.vmap(world.reset, (0, None))(jax.random.split(reset_key, worlds), params)
    age = jax.random.randint(age_key, (worlds,), 0, world.limit)
    return Playing(state, age, jnp.int32(world.limit), jnp.zeros((worlds, channels)), memory)


def _where(mask: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - 1)), a, b), yes, no)


def _draw(world: World, key: Array, worlds: int, steps: int, params: dict[str, Array]) -> State:
    """A deck of fresh levels, [cards, …]: one for every world, and one for every `world.brief` steps."""
    cards = max(worlds, -(-worlds * steps // world.brief))
    return jax.vmap(world.reset, (0, None))(jax.random.split(key, cards), params)


def _deal(deck: State, dealt: Array, over: Bool[Array, " worlds"]) -> tuple[State, Array]:
    """The next card for every world that is over; what the others get is not meant. After the last comes the first."""
    cards = jax.tree.leaves(deck)[0].shape[0]
    turn = (dealt + jnp.cumsum(over) - 1) % cards
    return jax.tree.map(lambda x: x[turn], deck), dealt + jnp.sum(over)


def _potentials(world: World, shaped: tuple[str, ...], state: State) -> Array:
    if not shaped:
        return jnp.zeros(0)
    facts = world.potentials(state)
    return jnp.stack([facts[name] for name in shaped])


NOT = "not "  # what a condition begins with that is the opposite of a feature


def _conditions(world: World, gates: tuple[str, ...], state: State) -> Array:
    if not gates:
        return jnp.zeros(0)
    facts = world.features(state)
    return jnp.stack([facts[gate.removeprefix(NOT)] != gate.startswith(NOT) for gate in gates]).astype(jnp.float32)


def collect(
    world: World,
    actor: Actor,
    key: Array,
    playing: Playing,
    params: dict[str, Array],
    steps: int,
    shaped: tuple[str, ...] = (),
    gates: tuple[str, ...] = (),
) -> tuple[Playing, Rollout]:
    """Plays `steps` steps in every world, beginning a new episode wherever one is over.

    If episodes are shorter than `world.brief` on average, a level is played more than once within the rollout.

    Args:
        actor: chooses actions; sees observations only, and remembers nothing beyond an episode.
        params: the level distribution in force.
        shaped: the potentials to record; others are not computed.
        gates: the conditions to record: features that are true or false, or `not ` and such a feature.
    """
    worlds = playing.age.shape[0]
    observe = jax.vmap(world.observe)
    deck_key, play_key = jax.random.split(key)
    deck = _draw(world, deck_key, worlds, steps, params)

    def one(carry: tuple[Playing, Array], chance: tuple[Luck, Array]) -> tuple[tuple[Playing, Array], Any]:
        playing, dealt = carry
        luck, keys = chance
        state = playing.state
        observation = observe(state)
        action, memory = actor.act(luck, observation, playing.memory)
        after = jax.vmap(world.step, (0, 0, 0, None))(keys, state, action, params)
        facts = jax.vmap(lambda *x: vector(world.channels(*x)))(state, action, after)
        age, totals = playing.age + 1, playing.totals + facts
        ended = jax.vmap(world.ended)(after)
        truncated = (age >= world.limit) & ~ended
        over = ended | truncated
        fresh, dealt = _deal(deck, dealt, over)
        potentials = [jax.vmap(lambda s: _potentials(world, shaped, s))(s) for s in (state, after)]
        conditions = jax.vmap(lambda s: _conditions(world, gates, s))(after)
        record = (observation, action, facts, *potentials, conditions, ended, truncated, observe(after))
        told = over & (playing.opening == 0)
        finished = jnp.where(told[:, None], totals, 0.0).sum(0), jnp.sum(told), jnp.sum(jnp.where(told, age, 0))
        onward = Playing(
            _where(over, fresh, after),
            jnp.where(over, 0, age),
            jnp.maximum(playing.opening - 1, 0),
            jnp.where(over[:, None], 0.0, totals),
            _where(over, actor.fresh(worlds), memory),
        )
        return (onward, dealt), (record, finished)

    chance = _chance(actor, play_key, steps, worlds)
    at_once = 2 if worlds <= FEW else 1
    (playing, _), (record, finished) = jax.lax.scan(one, (playing, jnp.int32(0)), chance, unroll=at_once)
    observations, actions, facts, before, after, conditions, ended, truncated, following = record
    finals, last, episodes = _finals(world, truncated, following), observe(playing.state), _episodes(finished)
    return playing, Rollout(
        observations, actions, facts, before, after, conditions, ended, truncated, finals, last, episodes
    )


def _finals(world: World, truncated: Bool[Array, "time worlds"], following: Array) -> Array:
    """The observations after truncated steps, [slots, …].

    An episode that is cut off is `limit` steps old, so that there are not more than this many in a rollout.
    """
    steps, worlds = truncated.shape
    cut = jnp.flatnonzero(truncated, size=worlds * -(-steps // world.limit), fill_value=0)
    return following.reshape(-1, *following.shape[2:])[cut]


def _episodes(finished: tuple[Array, Array, Array]) -> Episodes:
    """From sums per step over the worlds whose episode was over: totals per channel, how many, steps."""
    totals, count, length = (jnp.sum(x, axis=0) for x in finished)
    divisor = jnp.where(count > 0, count, jnp.nan)
    return Episodes(count, length / divisor, totals / divisor)


def _chance(actor: Actor, key: Array, steps: int, worlds: int) -> tuple[Luck, Array]:
    """What chance decides in every step: the actor's luck, and a key for each world. [time, …]."""
    both = jax.vmap(jax.random.split)(jax.random.split(key, steps))
    lucks = jax.vmap(lambda k: actor.luck(k, worlds))(both[:, 0])
    return lucks, jax.vmap(lambda k: jax.random.split(k, worlds))(both[:, 1])


class Story(NamedTuple):
    """One episode from a given state, per world; arrays are [time, worlds, …]. Steps after the end are marked dead."""

    alive: Bool[Array, "time worlds"]  # the step was part of the episode
    facts: Float[Array, "time worlds channels"]
    reached: Bool[Array, "time worlds goals"]


def episode(
    world: World, actor: Actor, key: Array, state: State, params: dict[str, Array], steps: int | None = None
) -> tuple[Story, State]:
    """Plays one episode in every world from `state`, to its end or the time limit (or for `steps` steps).

    Returns:
        The story, and the states before each step, [time, worlds, …] (dropped by XLA when nobody uses them).
    """
    worlds = jax.tree.leaves(state)[0].shape[0]

    def one(carry: tuple[State, Array, Memory], chance: tuple[Luck, Array]) -> tuple[tuple[State, Array, Memory], Any]:
        state, alive, memory = carry
        luck, keys = chance
        action, memory = actor.act(luck, jax.vmap(world.observe)(state), memory)
        after = jax.vmap(world.step, (0, 0, 0, None))(keys, state, action, params)
        facts = jax.vmap(lambda *x: vector(world.channels(*x)))(state, action, after)
        reached = jax.vmap(world.reached)(state, action, after)
        story = Story(alive, jnp.where(alive[:, None], facts, 0.0), reached & alive[:, None])
        return (_where(alive, after, state), alive & ~jax.vmap(world.ended)(after), memory), (story, state)

    alive = ~jax.vmap(world.ended)(state)
    chance = _chance(actor, key, world.limit if steps is None else steps, worlds)
    return jax.lax.scan(one, (state, alive, actor.fresh(worlds)), chance)[1]
