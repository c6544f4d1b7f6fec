"""What the tests of worlds share: playing a list of actions, and breadth-first search in plain Python."""

import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chisel.worlds import load_world


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that run over all worlds go world by world: what one has compiled, the next uses in the same process."""

    def world(item: pytest.Item) -> str:
        return str(item.callspec.params.get("name", "")) if hasattr(item, "callspec") else ""

    tables = [item for item in items if item.path.name in ("test_boards.py", "test_conformance.py")]
    chosen = set(map(id, tables))
    items[:] = [*sorted(tables, key=world), *(item for item in items if id(item) not in chosen)]


STEPS = 64  # the most that one story can have


class Story(NamedTuple):
    """What happened when a list of actions was played; numpy arrays."""

    states: Any  # [steps + 1, ...]
    facts: dict[str, np.ndarray]  # [steps]
    reached: np.ndarray  # [steps, goals]
    ended: np.ndarray  # [steps + 1]


@functools.cache
def _player(name: str) -> Callable[..., Any]:
    world = load_world(name)

    def play(state: Any, actions: jax.Array, key: jax.Array, params: dict[str, jax.Array]) -> Any:
        def one(state: Any, now: Any) -> Any:
            action, key = now
            after = world.step(key, state, action, params)
            told = world.channels(state, action, after), world.reached(state, action, after), world.ended(after)
            return after, (after, *told)

        _, (states, facts, reached, ended) = jax.lax.scan(
            one, state, (actions, jax.random.split(key, actions.shape[0]))
        )
        states, ended = jax.tree.map(
            lambda first, rest: jnp.concatenate([first[None], rest]), (state, world.ended(state)), (states, ended)
        )
        return Story(states, facts, reached, ended)

    return jax.jit(play)


@pytest.fixture(scope="session")
def play() -> Callable[..., Story]:
    """`play(name, state, actions)`: plays the actions, whether or not the world says in between that it has ended."""

    def run(name: str, state: Any, actions: Any, key: Any = None, params: Any = None) -> Story:
        params = params or {k: p.default for k, p in load_world(name).params.items()}
        key = jax.random.key(0) if key is None else key
        steps = len(actions)
        padded = jnp.zeros(STEPS, jnp.int32).at[:steps].set(jnp.asarray(actions))  # one length, compiled once
        story = jax.tree.map(np.asarray, _player(name)(state, padded, key, params))
        states, ended = jax.tree.map(lambda x: x[: steps + 1], (story.states, story.ended))
        facts, reached = jax.tree.map(lambda x: x[:steps], (story.facts, story.reached))
        return Story(states, facts, reached, ended)

    return run


@pytest.fixture(scope="session")
def breadth_first() -> Callable[..., list[float]]:
    """`breadth_first(after, target)`: steps from every place to `target`, where `after[place]` lists what follows."""

    def search(after: Sequence[Sequence[int]], target: int) -> list[float]:
        before: list[list[int]] = [[] for _ in after]
        for place, following in enumerate(after):
            for to in following:
                before[to].append(place)
        steps = [float("inf")] * len(after)
        steps[target] = 0
        queue = deque([target])
        while queue:
            here = queue.popleft()
            for place in before[here]:
                if steps[place] == float("inf"):
                    steps[place] = steps[here] + 1
                    queue.append(place)
        return steps

    return search
