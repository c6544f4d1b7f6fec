import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("gymnax")

import gymnax
from gymnax.environments import spaces

from chisel.study.files import WrongInput
from chisel.worlds import load_world
from chisel.worlds.borrowed import gymnax as adapter
from chisel.worlds.world import names

BANDITS_THAT_DOWNLOAD = {"MNISTBandit-bsuite"}
CONTINUOUS = {"Pendulum-v1", "MountainCarContinuous-v0", "PointRobot-misc", "Reacher-misc", "Swimmer-misc"}
# Before 1.0 its step indexes a number and fails.
BROKEN = set() if "FrozenLake-misc" in gymnax.registered_envs else {"SimpleBandit-bsuite"}
DISCRETE = sorted(set(gymnax.registered_envs) - CONTINUOUS - BANDITS_THAT_DOWNLOAD - BROKEN)


@functools.cache
def compiled(member: str) -> tuple[Any, Any]:
    world = load_world(f"gymnax:{member}")
    return jax.jit(lambda key: world.reset(key, {})), jax.jit(lambda *args: world.step(*args, {}))


def walk(member: str, start: Any, actions: list[int]) -> list[Any]:
    """The states that a list of actions leads through, `start` first."""
    states, step = [start], compiled(member)[1]
    for i, action in enumerate(actions):
        states.append(step(jax.random.key(i), states[-1], jnp.int32(action)))
    return states


def types(tree: Any) -> list[tuple[Any, Any, bool]]:
    return [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(tree)]


# What gymnax before 1.0 warns about under a newer JAX is gymnax's own affair.
@pytest.mark.filterwarnings("ignore:scatter inputs:FutureWarning", "ignore:Explicitly requested dtype:UserWarning")
@pytest.mark.parametrize("member", DISCRETE)
def test_every_discrete_environment_is_a_world(member):
    """Traced, not run: types stay the same from a new level through a step, and none are weak."""
    world = load_world(f"gymnax:{member}")
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(lambda key: world.reset(key, {}), key)
    after = jax.eval_shape(lambda key, s: world.step(key, s, jnp.int32(1), {}), key, state)
    assert types(state) == types(after) == types(jax.eval_shape(world.scatter, key))
    assert not any(weak for *_, weak in types(state))
    assert names(world).channels == world.true == ("reward",)
    assert len(world.actions) >= 2
    assert world.limit > 0
    frame = jax.eval_shape(world.frame, state)
    assert (frame.dtype, frame.shape[2]) == (jnp.uint8, 3)
    assert min(frame.shape[:2]) >= 48


def test_cartpole_is_cartpole():
    """Against the equations of Barto, Sutton and Anderson (1983), integrated by Euler's method, in plain Python."""
    start = compiled("CartPole-v1")[0](jax.random.key(3))
    actions = [1, 0, 0, 1, 1, 1, 0, 1, 0, 0] * 2
    states = walk("CartPole-v1", start, actions)
    x, v, angle, turn = (float(n) for n in start.observation)
    for action, state in zip(actions, states[1:], strict=True):
        push = 10.0 if action else -10.0
        pull = (push + 0.05 * turn**2 * math.sin(angle)) / 1.1
        bend = (9.8 * math.sin(angle) - math.cos(angle) * pull) / (0.5 * (4 / 3 - 0.1 * math.cos(angle) ** 2 / 1.1))
        speed_up = pull - 0.05 * bend * math.cos(angle) / 1.1
        x, v, angle, turn = x + 0.02 * v, v + 0.02 * speed_up, angle + 0.02 * turn, turn + 0.02 * bend
        np.testing.assert_allclose(state.observation, [x, v, angle, turn], rtol=1e-4, atol=1e-5)
        assert state.reward == 1
        assert not state.ended


def test_cartpole_ends_when_the_pole_falls():
    states = walk("CartPole-v1", compiled("CartPole-v1")[0](jax.random.key(0)), [1] * 12)
    fallen = [abs(float(s.observation[2])) > 12 * 2 * math.pi / 360 for s in states]
    assert [bool(s.ended) for s in states] == fallen
    assert sorted(fallen) == fallen
    assert fallen[-1]


def test_time_is_not_an_end():
    world, start = load_world("gymnax:CartPole-v1"), compiled("CartPole-v1")[0](jax.random.key(0))
    assert world.limit == 500
    late = start._replace(inner=start.inner.replace(time=jnp.int32(499)))
    after = walk("CartPole-v1", late, [0, 1])[-1]
    assert after.inner.time == 501
    assert not after.ended


@pytest.mark.parametrize(("heads", "reward"), [("for the ball", 1), ("away from it", -1)])
def test_catch(heads, reward):
    """The ball falls straight through ten rows; the paddle starts in the middle of five columns."""
    reset, step = compiled("Catch-bsuite")
    state, told = reset(jax.random.key(5)), []
    for i in range(9):
        ball, paddle = int(state.inner.ball_x), int(state.inner.paddle_x)
        goal = ball if heads == "for the ball" else 4 * (ball < 2)
        state = step(jax.random.key(i), state, jnp.int32(1 + np.sign(goal - paddle)))
        told.append((float(state.reward), bool(state.ended)))
    assert told == [(0, False)] * 8 + [(reward, True)]


@pytest.mark.skipif("FrozenLake-misc" not in DISCRETE, reason="this gymnax has no frozen lake")
def test_frozen_lake():
    """Reward on the goal and nowhere else; it ends there and in holes; the agent sees its place, one-hot."""
    world = load_world("gymnax:FrozenLake-misc")
    lake = "SFFFFHFHFFFHHFFG"
    reset, _ = compiled("FrozenLake-misc")
    step = jax.jit(jax.vmap(lambda key, state, action: world.step(key, state, action, {}), (0, None, None)))
    keys = jax.random.split(jax.random.key(0), 32)
    start, reached = reset(jax.random.key(0)), set()
    assert world.observe(start).tolist() == [1.0] + [0.0] * 15
    for place in range(16):
        here = start._replace(inner=start.inner.replace(position=jnp.int32(place)))
        after = step(keys, here, jnp.int32(2))
        places = np.asarray(after.inner.position)
        reached |= set(places.tolist())
        np.testing.assert_array_equal(after.reward, places == 15)
        np.testing.assert_array_equal(after.ended, [lake[p] in "HG" for p in places])
        np.testing.assert_array_equal(jax.vmap(world.observe)(after), np.eye(16)[places])
    assert len(reached) == 16


# The two kinds of step


class Count(NamedTuple):
    reached: Any
    time: Any


class Counting:
    """Counts the steps with action 1, and is over at three. Its limit is five steps."""

    default_params = gymnax.EnvParams(max_steps_in_episode=5)
    shown: Any = staticmethod(lambda state: jnp.stack([state.reached, state.time]).astype(jnp.float32))

    def reset_env(self, key, params):
        state = Count(jnp.int32(0), jnp.int32(0))
        return self.shown(state), state

    def count(self, state, action):
        state = Count(state.reached + action, state.time + 1)
        return self.shown(state), state, action * 2, state.reached >= 3

    def action_space(self, params):
        return spaces.Discrete(2)

    def observation_space(self, params):
        return spaces.Box(0, 9, (2,))


class Five(Counting):
    """The older kind: done means that it is over, or that time is up."""

    def step_env(self, key, state, action, params):
        shown, state, reward, over = self.count(state, action)
        return shown, state, reward, over | (state.time >= params.max_steps_in_episode), {}


class Six(Counting):
    def is_truncated(self, state, params):
        return state.time >= params.max_steps_in_episode

    def step_env(self, key, state, action, params):
        shown, state, reward, over = self.count(state, action)
        return shown, state, reward, over, self.is_truncated(state, params), {}


class Nested(Counting):
    shown = staticmethod(lambda state: {"reached": state.reached})


class Compound(Counting):
    def action_space(self, params):
        return spaces.Tuple([spaces.Discrete(2)])


class Unlimited(Six):
    default_params = ()


def pretend(monkeypatch, kind: type) -> Any:
    monkeypatch.setattr(gymnax, "registered_envs", ["Pretended-v0"])
    monkeypatch.setattr(gymnax, "make", lambda name: (kind(), kind.default_params))
    return adapter.make("Pretended-v0")


@pytest.mark.parametrize("kind", [Five, Six])
def test_both_kinds_of_step(monkeypatch, kind):
    world = pretend(monkeypatch, kind)
    assert world.limit == 5
    state, told = world.reset(jax.random.key(0), {}), []
    assert (state.reward, state.ended) == (0, False)
    for action in [0, 1, 0, 0, 0, 0, 1, 1]:  # step 5 is the limit; the third count comes at step 8
        after = world.step(jax.random.key(0), state, jnp.int32(action), {})
        told.append((float(world.channels(state, action, after)["reward"]), bool(world.ended(after))))
        state = after
    assert told == [(0, False), (2, False), (0, False), (0, False), (0, False), (0, False), (2, False), (2, True)]
    assert world.observe(state).tolist() == [3, 8]


def test_limit_of_an_environment_without_one(monkeypatch):
    assert pretend(monkeypatch, Unlimited).limit == adapter.LIMIT


# Errors


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CartPol-v1", "gymnax has no environment 'CartPol-v1'; did you mean 'CartPole-v1'"),
        ("", "gymnax needs an environment: gymnax:NAME; known: 'Acrobot-v1', "),
        ("Pendulum-v1", "Pendulum-v1 has continuous actions; chisel's learners choose among discrete ones"),
    ],
)
def test_wrong_names(name, message):
    with pytest.raises(WrongInput, match=r"^world: ") as error:
        load_world(f"gymnax:{name}")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Nested, "Pretended-v0 shows a dict; chisel's networks see one array"),
        (Compound, "Pretended-v0 has compound actions"),
    ],
)
def test_what_cannot_be_a_world(monkeypatch, kind, message):
    with pytest.raises(WrongInput, match=message):
        pretend(monkeypatch, kind)


def test_environment_that_cannot_be_made(monkeypatch):
    def make(name):
        raise OSError("no way to the data")

    monkeypatch.setattr(gymnax, "make", make)
    with pytest.raises(WrongInput, match="gymnax cannot make 'MNISTBandit-bsuite': no way to the data"):
        adapter.make("MNISTBandit-bsuite")


# Pictures


def test_bars_go_up_and_down():
    frame = np.asarray(adapter._frame(jnp.array([0.0, 0.5, -0.5, 9.0]))).astype(int)
    assert frame.shape == (63, 64, 3)
    middle, ground = 31, frame[0, 0]
    filled = (frame != ground).any(-1)
    up, down = filled[:middle].sum(0)[::16], filled[middle + 1 :].sum(0)[::16]
    assert up.tolist() == [0, round(31 * math.tanh(0.5)), 0, 31]
    assert down.tolist() == [0, 0, round(31 * math.tanh(0.5)), 0]


def test_planes_have_colours():
    planes = jnp.zeros((8, 16, 2)).at[0, 0, 0].set(1).at[7, 15, 1].set(1).at[3, 3, :].set(1)
    frame = np.asarray(adapter._frame(planes))
    assert frame.shape == (64, 128, 3)
    first, second, dark = frame[0, 0], frame[63, 127], frame[0, 127]
    assert len({tuple(c.tolist()) for c in (first, second, dark)}) == 3
    np.testing.assert_allclose(frame[28, 28].astype(int), second.astype(int), atol=12)  # the later plane is on top
    assert (frame == dark).all(-1).sum() == 64 * 128 - 3 * 64
