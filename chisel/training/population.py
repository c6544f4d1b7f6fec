"""Members over devices: all of a study trained together by one compiled function."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from chisel.rewards.schedule import Schedule
from chisel.training.member import Member, Metrics, Plan, make_advance, new

AXIS = "members"


def mesh(devices: int | None, members: int) -> Mesh:
    """The first `devices` devices (all, if None), but no more than members fill (see `slots`)."""
    available = jax.devices()
    count = min(devices or len(available), len(available), -(-members // slots(available[0])))
    return jax.make_mesh((count,), (AXIS,), axis_types=(AxisType.Auto,), devices=available[:count])


def slots(device: jax.Device) -> int:
    """How many members a device has room for at least.

    XLA compiles a loop over one member to another program than a loop over several, and the two differ in the last
    bits. On CPU, where a member's numbers are promised not to depend on its neighbours, there is always room for one
    more; but nothing is computed there.
    """
    return 2 if device.platform == "cpu" else 1


def side_by_side(mesh: Mesh, members: int) -> int:
    """How many members a device takes at once.

    XLA on CPU runs small networks slower side by side than one after another (docs/performance.md); accelerators want
    them all.
    """
    return 1 if mesh.devices.flat[0].platform == "cpu" else -(-members // mesh.size)


def spread(function: Callable[..., Any], mesh: Mesh, members: int, batch: int, shared: int = 0) -> Callable[..., Any]:
    """`function` of one member as a function of all, compiled once.

    Members are laid over the devices of `mesh`; a device takes its own one after another, `batch` at a time. What comes
    out for a member does not depend on which others there are, nor on how many devices: bit for bit on CPU.

    Args:
        function: (*of_member, *shared) -> pytree of arrays.
        members: how many there are, of what `lay` has filled up.
        shared: how many trailing arguments all members share.

    Returns:
        The same function over arrays with a leading [members] axis (but for the shared ones), jitted. The devices must
        divide the count: see `lay`.
    """
    split, whole, each = PartitionSpec(AXIS), PartitionSpec(), np.int32(-(-members // mesh.size))

    def on_device(own: tuple[Any, ...], common: tuple[Any, ...], count: Array) -> Any:
        if batch > 1:
            return jax.lax.map(lambda one: function(*one, *common), own, batch_size=batch)
        return _in_turn(lambda one: function(*one, *common), own, count)

    laid_out = jax.shard_map(on_device, mesh=mesh, in_specs=(split, whole, whole), out_specs=split, check_vma=False)

    @jax.jit
    def over_members(count: Array, *arguments: Any) -> Any:
        return laid_out(arguments[: len(arguments) - shared], arguments[len(arguments) - shared :], count)

    def of_members(*arguments: Any) -> Any:
        return over_members(each, *arguments)

    return of_members


def _in_turn(function: Callable[..., Any], own: Any, count: Array) -> Any:
    """`function` of the first `count` members, one after another; zeros for the others.

    How many is data, so that a loop over one is compiled as a loop over several is.
    """

    def pick(i: Array) -> Any:
        return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), own)

    def one(i: Array, done: Any) -> Any:
        put = jax.lax.dynamic_update_index_in_dim
        return jax.tree.map(lambda all_, x: put(all_, x, i, 0), done, function(pick(i)))

    shapes = jax.eval_shape(lambda: function(pick(jnp.int32(0))))
    members = len(jax.tree.leaves(own)[0])
    empty = jax.tree.map(lambda x: jnp.zeros((members, *x.shape), x.dtype), shapes)
    return jax.lax.fori_loop(0, count, one, empty)


def lay(tree: Any, mesh: Mesh) -> Any:
    """Arrays of members from the host, laid over the devices; filled up with copies of the last member where the
    devices do not divide their count, or have more room (see `slots`).
    """

    def one(x: Any) -> jax.Array:
        x = np.asarray(x)
        each = max(-(-len(x) // mesh.size), slots(mesh.devices.flat[0]))
        x = np.concatenate([x, np.repeat(x[-1:], each * mesh.size - len(x), axis=0)])
        # XLA gives back empty arrays as whole ones: another layout would be another compilation.
        return jax.device_put(x, NamedSharding(mesh, PartitionSpec(AXIS) if x.size else PartitionSpec()))

    return jax.tree.map(one, tree)


def gather(tree: Any, members: int) -> Any:
    """The arrays of the first `members` members, on the host."""
    return jax.tree.map(lambda x: np.asarray(x)[:members], jax.block_until_ready(tree))


def seed_keys(seeds: int, schedules: int) -> np.ndarray:
    """The key data of every member, [schedules × seeds, 2]: equal seeds get equal keys under every schedule."""
    keys = jax.vmap(lambda i: jax.random.key_data(jax.random.fold_in(jax.random.key(0), i)))(jnp.arange(seeds))
    return np.tile(np.asarray(keys), (schedules, 1))


class Population:
    """The members of a study and the one compiled function that trains them.

    Between calls the members' state is on the host or on the devices, as `lay` puts it.

    Args:
        plan: what is fixed.
        schedules: stacked over members.
        devices: how many to use at most.
    """

    def __init__(self, plan: Plan, schedules: Schedule, devices: int | None = None) -> None:
        self.members = len(schedules.updates)
        self.mesh = mesh(devices, self.members)
        self.plan = plan
        self._schedules = schedules
        self._shapes: tuple[Member, Metrics] | None = None
        self._laid = lay(schedules, self.mesh)
        self._advance = spread(make_advance(plan), self.mesh, self.members, side_by_side(self.mesh, self.members))

    def new(self, keys: np.ndarray) -> Member:
        """All members before their first update, laid over the devices."""
        begin = spread(lambda schedule, key: new(self.plan, schedule, key), self.mesh, self.members, batch=1)
        return begin(self._laid, lay(keys, self.mesh))

    def shapes(self, keys: np.ndarray, updates: int) -> tuple[Member, Metrics]:
        """Shapes of what a checkpoint holds: the members' state, and the metrics of that many updates."""
        if self._shapes is None:
            state = jax.eval_shape(jax.vmap(lambda s, k: new(self.plan, s, k)), self._schedules, keys)
            metrics = jax.eval_shape(
                lambda m, s: self._advance(m, s, s.updates)[1], self._laid_shape(state), self._laid
            )
            self._shapes = state, metrics
        state, metrics = self._shapes

        def rows(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((self.members, updates, *x.shape[2:]), x.dtype)

        return state, jax.tree.map(rows, metrics)

    def _laid_shape(self, state: Member) -> Member:
        count = len(self._laid.updates)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype), state)

    def no_metrics(self, keys: np.ndarray) -> Metrics:
        """The metrics of no update: arrays of length 0."""
        return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), self.shapes(keys, 0)[1])

    def compile(self, members: Member) -> None:
        """Compiles ahead of the first call: by advancing no update at all."""
        jax.block_until_ready(self._advance(members, self._laid, self._each(0, None)))

    def use(self, schedules: Schedule) -> None:
        """Puts members under other schedules of the same study, stacked over members, from the next call on."""
        self._laid = lay(schedules, self.mesh)

    def _each(self, updates: int, halted: np.ndarray | None) -> jax.Array:
        still = np.zeros(self.members, bool) if halted is None else halted
        return lay(np.where(still, 0, updates).astype(np.int32), self.mesh)

    def advance(self, members: Member, updates: int, halted: np.ndarray | None = None) -> tuple[Member, Metrics]:
        """Trains all members for `updates` ≤ `plan.chunk` updates. Metrics are [members, updates, …] on the host.

        Args:
            halted: bool[members], those that stay as they are; their metrics are NaN.
        """
        members, metrics = self._advance(members, self._laid, self._each(updates, halted))
        return members, jax.tree.map(lambda x: x[:, :updates], gather(metrics, self.members))
