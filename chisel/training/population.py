"""Members over devices: all of a study trained together by one compiled function."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

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
        divide the count: see `lay`. `count=` tells how many each device really has, where it is fewer (see `Packing`).
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

    def of_members(*arguments: Any, count: int | None = None) -> Any:
        return over_members(each if count is None else np.int32(count), *arguments)

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


class Packing(NamedTuple):
    """Which members lie where, when only some are worked on: one for all that are the same.

    Fields:
        take: [rows] the member that lies in each row of the arrays on the devices.
        row: [members] where what holds for each member is found.
        each: how many rows of each device are meant; those after them are filled up.
    """

    take: Int[np.ndarray, " rows"]
    row: Int[np.ndarray, " members"]
    each: int


def packing(leaders: Int[np.ndarray, " members"], mesh: Mesh) -> Packing:
    """One row for each leader, in even shares over the devices.

    Args:
        leaders: for every member, the one that is worked on in its place; itself, if none is.
    """
    chosen, place = np.unique(leaders, return_inverse=True)
    each, least = -(-len(chosen) // mesh.size), slots(mesh.devices.flat[0])
    # On CPU arrays keep their size, so that nothing is compiled anew; rows that are not meant cost nothing there.
    room = max(-(-len(leaders) // mesh.size), least) if least > 1 else each
    rows = np.arange(len(chosen)) // each * room + np.arange(len(chosen)) % each
    take = np.full(mesh.size * room, chosen[-1])
    take[rows] = chosen
    return Packing(take, rows[place], each)


def lay(tree: Any, mesh: Mesh, packed: Packing | None = None) -> Any:
    """Arrays of members from the host, laid over the devices; filled up with copies of the last member where the
    devices do not divide their count, or have more room (see `slots`).

    Args:
        packed: which of them; all, if None.
    """

    def one(x: Any) -> jax.Array:
        x = np.asarray(x)
        take = (packed or packing(np.arange(len(x)), mesh)).take
        # XLA gives back empty arrays as whole ones: another layout would be another compilation.
        return jax.device_put(x[take], NamedSharding(mesh, PartitionSpec(AXIS) if x.size else PartitionSpec()))

    return jax.tree.map(one, tree)


def gather(tree: Any, members: int) -> Any:
    """The arrays of the first `members` members, on the host."""
    return jax.tree.map(lambda x: np.asarray(x)[:members], jax.block_until_ready(tree))


def seed_keys(seeds: int | Sequence[int], schedules: int) -> np.ndarray:
    """The key data of every member, [schedules × seeds, 2]: equal seeds get equal keys under every schedule.

    Args:
        seeds: their numbers, each below 2³²; or how many, from 0 on.

    >>> (seed_keys([4, 5], 1) == seed_keys(6, 1)[4:]).all()
    np.True_
    """
    numbers = np.arange(seeds) if isinstance(seeds, int) else np.array(seeds)
    root = jax.random.key(0)
    keys = jax.vmap(lambda i: jax.random.key_data(jax.random.fold_in(root, i)))(jnp.asarray(numbers, jnp.uint32))
    return np.tile(np.asarray(keys), (schedules, 1))


class Population:
    """The members of a study and the one compiled function that trains them.

    Between calls the members' state is on the host (all of them) or on the devices, as its `lay` puts it.

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
        self._packed = packing(np.arange(self.members), self.mesh)
        self._laid = lay(schedules, self.mesh)
        self._advance = spread(make_advance(plan), self.mesh, self.members, side_by_side(self.mesh, self.members))

    def lay(self, members: Any) -> Any:
        """Arrays of all members from the host to the devices: one row for those that share one (`together`)."""
        return lay(members, self.mesh, self._packed)

    def gather(self, laid: Any) -> Any:
        """Arrays of all members from the devices to the host."""
        return jax.tree.map(lambda x: np.asarray(x)[self._packed.row], jax.block_until_ready(laid))

    def together(self, leaders: Int[np.ndarray, " members"]) -> None:
        """From here on, works on one member in the place of all that have the same leader.

        What is on the devices must be gathered before and laid again after.
        """
        self._packed = packing(leaders, self.mesh)
        self._laid = self.lay(self._schedules)

    def new(self, keys: np.ndarray) -> Member:
        """All members before their first update, laid over the devices."""
        begin = spread(lambda schedule, key: new(self.plan, schedule, key), self.mesh, self.members, batch=1)
        return begin(self._laid, self.lay(keys), count=self._packed.each)

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
        jax.block_until_ready(self._advance(members, self._laid, self._each(0, None), count=self._packed.each))

    def use(self, schedules: Schedule) -> None:
        """Puts members under other schedules of the same study, stacked over members, from the next call on."""
        self._schedules = schedules
        self._laid = self.lay(schedules)

    def _each(self, updates: int, halted: np.ndarray | None) -> jax.Array:
        still = np.zeros(self.members, bool) if halted is None else halted
        return self.lay(np.where(still, 0, updates).astype(np.int32))

    def advance(self, members: Member, updates: int, halted: np.ndarray | None = None) -> tuple[Member, Metrics]:
        """Trains all members for `updates` ≤ `plan.chunk` updates. Metrics are [members, updates, …] on the host.

        Args:
            halted: bool[members], those that stay as they are; their metrics are NaN.
        """
        members, metrics = self._advance(members, self._laid, self._each(updates, halted), count=self._packed.each)
        return members, jax.tree.map(lambda x: x[:, :updates], self.gather(metrics))
