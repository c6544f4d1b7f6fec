"""The levels that agents are evaluated on: which distribution they are drawn from, and what can be reached in them.

Every distribution draws its levels with the same keys, so that returns on two of them differ by the distribution and
not by the draw. The distributions that every battery has are in `chisel.probing.battery.LEVELS`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from chisel.probing.baseline import RandomPlay, plays, random_play
from chisel.study.battery import Battery
from chisel.worlds.world import World, names


class Drawn(NamedTuple):
    """Levels of one or several distributions, which are then the leading axis.

    Fields:
        states: [episodes, …] start states.
        params: the numbers that hold while they are played, by name.
    """

    states: Any
    params: dict[str, Any]


class Facts(NamedTuple):
    """What is known of the levels that each member was evaluated on at each checkpoint.

    Fields:
        ceiling: [members, checkpoints, levels, channels] best reachable mean return; NaN where not known.
        present: [members, checkpoints, levels, goals] share of levels in which the goal is there; None where the world
            cannot put its objects in and out.
        params: [members, checkpoints, levels, params] what they were drawn with; NaN for decorrelated levels.
    """

    ceiling: Float[np.ndarray, "members checkpoints levels channels"]
    present: Float[np.ndarray, "members checkpoints levels goals"] | None
    params: Float[np.ndarray, "members checkpoints levels params"]


class Levels:
    """The distributions of levels of one battery in one world.

    Args:
        params: the study's level distribution, as numbers.
        varied: whether members may train on other levels than these, each on its own. If not, `training` is `study`.

    Attributes:
        names: of all distributions, in the order of readings: `training`, `study`, `decorrelated`, the battery's own.
        params: the names of the numbers that distributions are made of, sorted.
        fixed: the levels that are the same for every member: of all but `training`.
        plays: how often random play plays each level.
    """

    def __init__(self, battery: Battery, world: World, params: Mapping[str, float], varied: bool) -> None:
        self.names, self.varied = tuple(battery.distributions), varied
        self._world, self._study, self.params = world, self._numbers(params), sorted(params)
        root = jax.random.fold_in(jax.random.key(0x1E7), battery.bank.seed)
        keys = jax.random.split(root, battery.returns.episodes)
        self._reset = jax.jit(lambda numbers: jax.vmap(lambda key: world.reset(key, numbers))(keys))
        self._facts = jax.jit(jax.vmap(self._facts_of))
        scattered = Drawn(jax.jit(jax.vmap(world.scatter))(keys), self._study)
        named = [self._draw(self._study | self._numbers(given)) for given in battery.levels.values()]
        self.fixed = _stacked([self._draw(self._study), scattered, *named])
        self._own: dict[bytes, Drawn] = {}
        self.plays = plays(battery.returns.episodes)
        chance = jax.random.key(0x7A9D)
        self._at_random = jax.jit(lambda levels: random_play(world, chance, levels.states, levels.params, self.plays))

    @staticmethod
    def _numbers(params: Mapping[str, float]) -> dict[str, Array]:
        return {name: jnp.float32(value) for name, value in params.items()}

    def _draw(self, numbers: dict[str, Array]) -> Drawn:
        return Drawn(self._reset(numbers), numbers)

    def own(self, trained_on: Float[np.ndarray, "members params"] | None, members: int) -> Drawn | None:
        """The `training` levels of every member; None where they are those of the study.

        Args:
            trained_on: the numbers that each member trains under, in the order of their sorted names; by default those
                of the study.
        """
        if not self.varied:
            return None
        rows = self._rows(trained_on, members)
        return _stacked([self._drawn(row) for row in rows])

    def _rows(self, trained_on: np.ndarray | None, count: int) -> np.ndarray:
        if trained_on is not None and self.varied:
            return np.asarray(trained_on, np.float32)
        study = [self._study[name] for name in self.params]
        return np.tile(np.array(study, np.float32), (count, 1))

    def _drawn(self, row: np.ndarray) -> Drawn:
        """The levels of one distribution, drawn once."""
        key = row.tobytes()
        if key not in self._own:
            numbers = dict(zip(self.params, row, strict=True))
            self._own[key] = jax.tree.map(np.asarray, self._draw(self._numbers(numbers)))
        return self._own[key]

    def whole(
        self, returns: Float[np.ndarray, "members played channels"]
    ) -> Float[np.ndarray, "members levels channels"]:
        """Returns on all levels, from those played: where nothing varies, `training` was played as `study`."""
        return returns if self.varied else np.concatenate([returns[:, :1], returns], axis=1)

    def facts(self, trained_on: np.ndarray | None, members: int, checkpoints: int) -> Facts:
        """Ceilings, presences and parameters of all levels.

        Args:
            trained_on: [members, checkpoints, params], as for `own`.
        """
        rows, where = self._places(trained_on, members, checkpoints)
        every = partial(_every, where)
        own = self._facts(_stacked([self._drawn(row) for row in rows]).states)
        ceiling, present = jax.tree.map(every, own, self._facts(self.fixed.states))
        columns = [np.asarray(self.fixed.params[name])[:, None] for name in self.params]
        params = every(rows, np.concatenate([np.zeros((len(self.names) - 1, 0)), *columns], axis=1))
        params[:, :, self.names.index("decorrelated")] = np.nan  # whatever was asked for, it is drawn otherwise
        return Facts(ceiling, present, params)

    def random_play(self, trained_on: np.ndarray | None, members: int, checkpoints: int) -> RandomPlay:
        """Returns of random play on all levels; every field is [members, checkpoints, levels, channels].

        Args:
            trained_on: [members, checkpoints, params], as for `own`.
        """
        rows, where = self._places(trained_on, members, checkpoints)
        count = len(self.names) - 1
        fixed = _stacked([self._at_random(jax.tree.map(lambda x, i=i: x[i], self.fixed)) for i in range(count)])
        if self.varied:
            own = _stacked([self._at_random(self._drawn(row)) for row in rows])
        else:  # `training` is `study`, the first of these
            own = jax.tree.map(lambda x: x[:1], fixed)
        found: RandomPlay = jax.tree.map(partial(_every, where), own, fixed)
        return found

    def _places(self, trained_on: np.ndarray | None, members: int, checkpoints: int) -> tuple[np.ndarray, np.ndarray]:
        """The different rows of numbers that members trained on; and of each, [members, checkpoints], which it is."""
        flat = None if trained_on is None else trained_on.reshape(members * checkpoints, -1)
        rows, place = np.unique(self._rows(flat, members * checkpoints), axis=0, return_inverse=True)
        return rows, place.reshape(members, checkpoints)

    def _facts_of(self, states: Any) -> tuple[Array, Array | None]:
        """The mean ceiling of every channel, and the share of levels that have each goal."""
        world, channels = self._world, names(self._world).channels
        best = {} if world.ceiling is None else jax.vmap(world.ceiling)(states)
        unknown = jnp.float32(jnp.nan)
        ceiling = jnp.stack([jnp.mean(best[c], dtype=jnp.float32) if c in best else unknown for c in channels])
        if world.present is None or not world.goals:
            return ceiling, None
        there = jax.vmap(lambda state: _there(world, state))(states)
        return ceiling, jnp.mean(there, 0, dtype=jnp.float32)


def _there(world: World, state: Any) -> Array:
    """Which goals are there: places always, and an object if taking it out makes another state. bool[goals]."""
    present = world.present
    assert present is not None, world.name

    def one(goal: Array) -> Array:
        without = present(state, goal, False)
        unlike = [jnp.any(a != b) for a, b in zip(*map(jax.tree.leaves, (state, without)), strict=True)]
        return jnp.any(jnp.stack(unlike))

    places = jnp.array([goal in world.places for goal in world.goals])
    return places | jax.vmap(one)(jnp.arange(len(world.goals)))


def _every(where: np.ndarray, of_own: Any, of_fixed: Any) -> np.ndarray:
    """Of all levels, [members, checkpoints, levels, …], from those of `training` that differ, and from the others."""
    common = np.broadcast_to(of_fixed, (*where.shape, *np.shape(of_fixed)))
    return np.concatenate([np.asarray(of_own)[where][:, :, None], common], axis=2)


def _stacked(every: list[Any]) -> Any:
    found: Any = jax.tree.map(lambda *x: np.stack([np.asarray(v) for v in x]), *every)
    return found
