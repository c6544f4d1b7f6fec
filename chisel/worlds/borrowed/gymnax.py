"""`gymnax:NAME`: any environment of gymnax (Lange 2022) with discrete actions; `reward`, its own, is the one channel.

Nothing is known about such a world beyond its reward. The question that can be put to all of them is about time: what
remains of a skill when its reward fades in late, or stops early?

An environment whose observation is one of a number of cases shows it one-hot: to a network, case 15 is not more than
case 3. Time limits are chisel's (`World.limit`), at the length that the environment has by default.
"""

import colorsys
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces
from jaxtyping import Array, Bool, Float, UInt8

from chisel.study.files import WrongInput, nearest
from chisel.worlds.borrowed.common import old_key, settled, wander
from chisel.worlds.world import World

LIMIT = 500  # steps of an episode where the environment has no limit
WALK = 64  # most steps of random play before a state of the bank
SIDE = 64  # least pixels along a side of a frame


class State(NamedTuple):
    """One moment: the environment's own state, and what it said about the step that led here."""

    inner: Any
    observation: Array
    reward: Float[Array, ""]
    ended: Bool[Array, ""]


def _unpack(told: tuple[Any, ...]) -> tuple[Any, Any, Array, Array]:
    """Observation, state, reward and whether it is truly over, of a step of either kind: five values (…, done, info),
    or six (…, terminated, truncated, info).
    """
    observation, inner, reward, ended, *_ = told
    return observation, inner, reward, ended


def _reset(env: Any, settings: Any, key: Array, params: Mapping[str, Any]) -> State:
    del params
    observation, inner = env.reset_env(old_key(key), settings)
    return settled(State(inner, observation, jnp.float32(0), jnp.zeros((), bool)))


def _step(env: Any, settings: Any, key: Array, state: State, action: Array, params: Mapping[str, Any]) -> State:
    del params
    told = env.step_env(old_key(key), state.inner, action, settings)
    observation, inner, reward, ended = _unpack(told)
    reward, ended = jnp.asarray(reward, jnp.float32), jnp.asarray(ended, bool)
    return settled(State(inner, observation, reward.reshape(()), ended.reshape(())))


def _bars(numbers: Float[Array, " n"]) -> UInt8[Array, "y x 3"]:
    """A bar for each number, up or down from a line in the middle, whose height is the number's tanh."""
    height = (SIDE - 1) // 2
    level = height - jnp.arange(2 * height + 1)[:, None]
    tip = jnp.round(jnp.tanh(numbers) * height)[None, :]
    bar = ((level > 0) & (level <= tip)) | ((level < 0) & (level >= tip))
    colour = jnp.where(tip[..., None] > 0, jnp.array([70, 130, 200]), jnp.array([225, 120, 60]))
    picture = jnp.where(bar[..., None], colour, jnp.where(level[..., None] == 0, 60, 245)).astype(jnp.uint8)
    wide = max(1, SIDE // numbers.shape[0])
    gaps = (jnp.arange(wide * numbers.shape[0]) % wide == wide - 1) & (wide > 2)
    return jnp.where(gaps[None, :, None], jnp.uint8(245), jnp.repeat(picture, wide, axis=1))


def _planes(planes: Float[Array, "y x planes"]) -> UInt8[Array, "height width 3"]:
    """Planes in colours of their own, the later ones on top; what is far from zero is bright."""
    count = planes.shape[-1]
    colours = np.array([colorsys.hsv_to_rgb(i / count, 0.6 if count > 1 else 0.0, 1.0) for i in range(count)])
    bright = jnp.tanh(2 * jnp.abs(planes))
    picture = jnp.full((*planes.shape[:2], 3), 0.1)
    for i in range(count):
        strength = bright[..., i, None]
        picture = (1 - strength) * picture + strength * colours[i]
    scale = max(1, SIDE // min(planes.shape[:2]))
    return jnp.repeat(jnp.repeat(255 * picture, scale, axis=0), scale, axis=1).astype(jnp.uint8)


def _frame(observation: Array) -> UInt8[Array, "y x 3"]:
    """An observation as a picture: planes where it is one, bars otherwise."""
    numbers = observation.astype(jnp.float32)
    if numbers.ndim == 2:
        return _planes(numbers[..., None])
    return _planes(numbers) if numbers.ndim == 3 else _bars(numbers.ravel())


def _made(member: str) -> tuple[Any, Any]:
    """The environment and its default settings."""
    if member not in gymnax.registered_envs:
        found = f"gymnax has no environment {member!r}" if member else "gymnax needs an environment: gymnax:NAME"
        raise WrongInput(f"{found}; {nearest(member, gymnax.registered_envs)}")
    try:
        return gymnax.make(member)
    except (ImportError, OSError) as error:  # some need further packages, or data that they download
        raise WrongInput(f"gymnax cannot make {member!r}: {error}") from error


def _own_limit(env: Any, settings: Any) -> tuple[int, Any]:
    """Steps of an episode by default, and settings in which that limit never fires.

    From gymnax 1 on, an environment's step knows no limit. Before, `done` was true at the limit as well; it is put
    just out of reach and no further, since some environments show how much of the time is left.
    """
    limit = getattr(settings, "max_steps_in_episode", None)
    if limit is None:
        return LIMIT, settings
    if not hasattr(env, "is_truncated"):
        settings = settings.replace(max_steps_in_episode=limit + WALK + 1)
    return int(limit), settings


def _choices(member: str, env: Any, settings: Any) -> int:
    """How many actions there are."""
    space = env.action_space(settings)
    if not hasattr(space, "n"):
        kind = "continuous" if isinstance(space, spaces.Box) else "compound"
        raise WrongInput(f"{member} has {kind} actions; chisel's learners choose among discrete ones")
    return int(space.n)


def _cases(member: str, env: Any, settings: Any) -> int | None:
    """How many cases there are, where an observation is one of so many; None where it is an array of numbers."""
    shown = jax.eval_shape(lambda: env.reset_env(jax.random.PRNGKey(0), settings)[0])
    if not isinstance(shown, jax.ShapeDtypeStruct):
        raise WrongInput(f"{member} shows a {type(shown).__name__}; chisel's networks see one array")
    space = env.observation_space(settings)
    return int(space.n) if hasattr(space, "n") and shown.shape == () else None


def make(member: str) -> World:
    """An environment of gymnax.

    Raises:
        WrongInput: there is no such environment, or it cannot be a world of chisel.
    """
    env, settings = _made(member)
    actions, cases = _choices(member, env, settings), _cases(member, env, settings)
    limit, settings = _own_limit(env, settings)
    reset, step = partial(_reset, env, settings), partial(_step, env, settings)

    def observe(state: State) -> Array:
        return state.observation if cases is None else jax.nn.one_hot(state.observation, cases)

    return World(
        name=f"gymnax:{member}",
        summary=f"{member} of gymnax",
        actions=tuple(f"action_{i}" for i in range(actions)),
        goals=(),
        true=("reward",),
        limit=limit,
        params={},
        reset=reset,
        step=step,
        observe=observe,
        ended=lambda state: state.ended,
        channels=lambda before, action, after: {"reward": after.reward},
        potentials=lambda state: {},
        features=lambda state: {},
        scatter=wander(reset, step, lambda state: state.ended, lambda state: jnp.ones(actions, bool), min(limit, WALK)),
        frame=lambda state: _frame(observe(state)),
    )
