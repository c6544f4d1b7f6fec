"""What moves a policy that chisel did not train, be it made of JAX operations or called with NumPy arrays."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array
from numpy.typing import ArrayLike

from chisel.agents.networks import Output
from chisel.agents.policy import FORBIDDEN
from chisel.probing.bank import Bank, Edits, putting_in
from chisel.probing.causes import Inquiry, causes, erasures, steered
from chisel.probing.dataset import DIMENSIONS, described
from chisel.probing.given import as_numbers, check_count
from chisel.probing.given import described as thing
from chisel.probing.pairs import Pair, States, checked_states, names_of
from chisel.study.battery import NULLS, STATES, STRENGTHS
from chisel.study.files import nearest

Policy = Callable[..., tuple[Any, Mapping[str, Any]]]


def influence(
    policy: Policy,
    observations: ArrayLike,
    features: Mapping[str, ArrayLike],
    toward: ArrayLike,
    pairs: Mapping[str, Pair],
    goals: Sequence[str],
    *,
    layers: Sequence[str] = (),
    greedy: bool = False,
    nulls: int = NULLS,
    states: int = STATES,
    strengths: Sequence[float] = STRENGTHS,
    callback: bool = False,
    seed: int = 0,
) -> xr.Dataset:
    """What moves a policy that chisel did not train.

    Args:
        policy: (observations [n, …], put={layer: activations}) -> (logits [n, actions], {layer: activations [n, …]}).
            It must go on from activations that it is given instead of its own, be the same at every call (no dropout),
            and be made of JAX operations unless `callback`.
        observations: [n, …]; directions are fitted on half of them, drawn at random, and erasure and steering tried on
            the other half.
        features: {feature: [n]} of the observations, truth values (or 0 and 1) or numbers; NaN where one does not
            apply.
        toward: [n, goals, actions], the actions that lead to each goal.
        pairs: edits by name, with as many states in each.
        layers: those that are intervened on; none: effects of edits only.
        greedy: the policy tells action values (`chisel.probing.influence.bids`).
        nulls, states: draws of every null, and states on which they are drawn.
        strengths: of steering.
        callback: the policy takes and returns NumPy arrays, as one of PyTorch can (`docs/readings.md`). It is called
            about nulls × layers × (edits + features) times, with as many observations as `states`.
        seed: of the order of rows.

    Returns:
        `total_effect`, `effect`, `gating`, with `layers` also `mediated`, `erasure` and `steering`, and p values.

    Raises:
        ValueError: shapes do not agree, something is not finite, a pair tells of other features, or the policy has no
            such layer, does not go on from what it is given, or says something else when it is asked again.
    """
    layers, nulls, states = names_of("layers", layers), check_count("nulls", nulls, 1), check_count("states", states, 1)
    strengths = tuple(as_numbers("strengths", [strengths] if np.ndim(strengths) == 0 else strengths).tolist())
    if not callable(policy):
        raise ValueError(f"policy: expected a function (observations, put=…), found {thing(policy)}")
    given = checked_states(observations, features, toward, pairs, goals)
    bank = _shuffled_bank(given, check_count("seed", seed))
    assert bank.edits is not None
    forward = _Forward(policy, np.asarray(bank.observations), layers, given.toward.shape[2], callback)
    names = list(features)
    inquiry = Inquiry(
        layers=layers,
        columns=np.arange(len(names)),
        edit_of=np.asarray(bank.edits.edit_of),
        states=min(states, len(bank.features) // 2),
        nulls=nulls,
        greedy=greedy,
        follow=bool(layers),
    )

    @jax.jit
    def read(bank: Bank) -> tuple[dict[str, Array], dict[str, Array]]:
        plain = forward(bank.observations)
        found = causes(forward, plain.activations, bank, inquiry, np.zeros(len(pairs), bool))
        if layers:
            found |= erasures(forward, plain.activations, bank, inquiry)
            found |= steered(forward, plain.activations, bank, inquiry, strengths)
        said = {"logits": plain.logits, **{f"layer {name}": plain.activations[name] for name in layers}}
        return found, {name: jnp.sum(~jnp.isfinite(x)) for name, x in said.items()}

    try:
        found, wrong = jax.block_until_ready(read(bank))
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        raise ValueError(
            "policy: expected operations of JAX alone, found one that asks for values while the program is compiled; "
            "of a policy in NumPy or PyTorch say callback=True"
        ) from error
    forward.reraise()
    for what, count in wrong.items():
        if count:
            hint = f"; give {FORBIDDEN:g} for actions that are not allowed" if what == "logits" else ""
            raise ValueError(f"policy: {int(count):,} numbers of its {what} are not finite (NaN or infinite){hint}")
    coords: dict[str, list[Any]] = {
        "layer": list(layers),
        "feature": names,
        "goal": list(goals),
        "edit": list(pairs),
        "context": [name for name in names if _binary(name, given.features, given.pairs)],
        "strength": list(strengths),
    }
    return described(_labelled(found, coords), greedy=greedy)


class _Forward:
    """A policy as `causes` calls it: any leading axes, and layers of [units] whatever their own shape."""

    def __init__(
        self, policy: Policy, observations: np.ndarray, layers: tuple[str, ...], actions: int, callback: bool
    ) -> None:
        self._policy, self._callback, self._layers = policy, callback, layers
        self._row = observations.shape[1:]
        self._failure: BaseException | None = None
        few = observations[: min(4, len(observations))]
        logits, activations = self._called(few, {})
        if logits.shape != (len(few), actions):
            raise ValueError(
                f"policy: expected logits [n, actions] = {(len(few), actions)}, as `toward` has actions, "
                f"found {logits.shape}"
            )
        for name in layers:
            if name not in activations:
                raise ValueError(f"layers: the policy returns no layer {name!r}; {nearest(name, activations)}")
            if activations[name].shape[:1] != (len(few),):
                raise ValueError(f"layer {name}: expected [n, …], found {activations[name].shape} of {len(few)} rows")
            again, _ = self._called(few, {name: activations[name]})
            if far := _apart(again, logits):
                raise ValueError(
                    f"policy: given its own activations of layer {name}, it says logits that differ by {far:.3g}; "
                    "expected the same: it must go on from `put`, and draw nothing at random (no dropout)"
                )
        if far := _apart(self._called(few[:1], {})[0], logits[:1]):
            raise ValueError(
                f"policy: of one observation alone it says logits that differ by {far:.3g} from those among "
                f"{len(few)}; expected the same: it must keep no state, draw nothing at random, and not depend on the "
                "other rows, as batch normalisation does in training (PyTorch: network.eval())"
            )
        self._actions = actions
        self._shapes = {name: activations[name].shape[1:] for name in layers}

    def _called(self, seen: np.ndarray, put: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        told = self._policy(seen if self._callback else jnp.asarray(seen), put=dict(put))
        if not (isinstance(told, tuple) and len(told) == 2 and isinstance(told[1], Mapping)):
            raise ValueError(f"policy: expected (logits, {{layer: activations}}), found {type(told).__name__}")
        return np.asarray(told[0], np.float32), {k: np.asarray(v, np.float32) for k, v in told[1].items()}

    def _on_host(self, seen: Any, put: Mapping[str, Any]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """The policy called from a compiled program, which an exception must not end: it is kept for `reraise`."""
        if self._failure is None:
            try:
                logits, activations = self._called(np.asarray(seen), {k: np.asarray(v) for k, v in put.items()})
                return logits, tuple(activations[name] for name in self._layers)
            except Exception as failure:
                self._failure = failure
        return self._nothing(len(seen))

    def reraise(self) -> None:
        """Raises what the policy raised."""
        if self._failure is not None:
            raise self._failure

    def __call__(self, seen: Array, put: Mapping[str, Array] | None = None) -> Output:
        """Logits and activations."""
        lead = seen.shape[: seen.ndim - len(self._row)]
        rows = seen.reshape(-1, *self._row)
        given = {name: x.reshape(-1, *self._shapes[name]) for name, x in (put or {}).items()}
        if self._callback:
            logits, several = jax.pure_callback(
                self._on_host, self._form(len(rows)), rows, given, vmap_method="sequential"
            )
            activations = dict(zip(self._layers, several, strict=True))
        else:
            logits, of_layers = self._policy(rows, put=given)
            activations = {name: of_layers[name] for name in self._layers}
        whole = {name: activations[name].reshape(*lead, -1).astype(jnp.float32) for name in self._layers}
        return Output(logits.reshape(*lead, -1), jnp.zeros(lead), whole)

    def _form(self, rows: int) -> tuple[Any, tuple[Any, ...]]:
        form = jax.ShapeDtypeStruct
        several = tuple(form((rows, *self._shapes[name]), jnp.float32) for name in self._layers)
        return form((rows, self._actions), jnp.float32), several

    def _nothing(self, rows: int) -> Any:
        return jax.tree.map(lambda x: np.full(x.shape, np.nan, np.float32), self._form(rows))


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """How far logits differ; 0 if by no more than rounding. Of actions that are forbidden only that they are."""
    legal = (ours > FORBIDDEN / 2) & (theirs > FORBIDDEN / 2)
    if ((ours > FORBIDDEN / 2) != (theirs > FORBIDDEN / 2)).any():
        return float("inf")
    with np.errstate(invalid="ignore"):
        far = float(np.abs(ours - theirs).max(where=legal, initial=0.0))
    return far if far > 1e-3 * (1e-3 + float(np.abs(theirs).max(where=legal, initial=0.0))) else 0.0


def _labelled(found: Mapping[str, Array], coords: dict[str, list[Any]]) -> xr.Dataset:
    used = {dim for name in found for dim in DIMENSIONS[name]}
    data = {name: (DIMENSIONS[name], np.asarray(value)) for name, value in found.items()}
    return xr.Dataset(data, coords={dim: values for dim, values in coords.items() if dim in used})


def _binary(name: str, features: Mapping[str, ArrayLike], pairs: Mapping[str, Pair]) -> bool:
    """Whether a feature is 0 or 1 everywhere, edits included, whatever its type."""
    pairs_of = [facts[name] for pair in pairs.values() for facts in (pair.features_in, pair.features_out)]
    return all(np.isin(np.asarray(values, np.float64), (0, 1, np.nan)).all() for values in (features[name], *pairs_of))


def _shuffled_bank(given: States, seed: int) -> Bank:
    """What is read on, in random order: of a file that is sorted, one half would be all of one class."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(given.observations))
    order_in_pairs = draw.permutation(len(np.asarray(next(iter(given.pairs.values())).put_in)))
    features = {name: x[order] for name, x in given.features.items()}
    pairs = {edit: _shuffled(pair, order_in_pairs) for edit, pair in given.pairs.items()}
    return _bank(given.observations[order], features, given.toward[order], pairs)


def _shuffled(pair: Pair, order: np.ndarray) -> Pair:
    """A pair with its states in another order."""
    put_in, taken_out, toward = (np.asarray(x)[order] for x in pair[:3])
    facts = ({name: np.asarray(x)[order] for name, x in told.items()} for told in pair[3:])
    return Pair(put_in, taken_out, toward, *facts)


def _bank(
    observations: ArrayLike, features: Mapping[str, ArrayLike], toward: ArrayLike, pairs: Mapping[str, Pair]
) -> Bank:
    binary = np.array([_binary(name, features, pairs) for name in features])
    # Numbers far from 0 would lose their digits in single precision; only differences between them count.
    centre = [0.0 if b else np.nanmean(np.asarray(x)) for b, x in zip(binary, features.values(), strict=True)]

    def told(facts: Mapping[str, ArrayLike]) -> np.ndarray:
        return (np.stack([np.asarray(x, np.float64) for x in facts.values()], -1) - centre).astype(np.float32)

    def stacked(get: Callable[[Pair], Any]) -> Array:
        return jnp.stack([jnp.asarray(get(pair)) for pair in pairs.values()])

    told_in = np.stack([told(pair.features_in) for pair in pairs.values()])  # [edits, n, features]
    told_out = np.stack([told(pair.features_out) for pair in pairs.values()])
    named = np.array([[name == edit for name in features] for edit in pairs])
    edit_of, switched = putting_in(jnp.asarray(told_in), jnp.asarray(told_out), binary, named)
    edits = Edits(
        put_in=stacked(lambda pair: pair.put_in),
        taken_out=stacked(lambda pair: pair.taken_out),
        shortens_in=stacked(lambda pair: np.asarray(pair.toward, bool)),
        contexts=jnp.asarray((told_out > 0.5).astype(np.float32)[..., np.flatnonzero(binary)]),
        edit_of=edit_of,
        switched=switched,
    )
    return Bank(jnp.asarray(observations), jnp.asarray(told(features)), jnp.asarray(toward, bool), edits)
