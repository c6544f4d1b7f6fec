"""The battery as a whole: its dataset, its names, and networks of which it is known what they represent and want."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chisel.agents.networks import Form, Network, Output, make_network
from chisel.probing import judging, linear
from chisel.probing.battery import check_battery, with_functions
from chisel.probing.dataset import dataset
from chisel.probing.diverged import in_words
from chisel.probing.reader import Reader, Readings
from chisel.study.battery import Battery, load_battery
from chisel.study.files import WrongInput
from chisel.worlds import load_world
from chisel.worlds.smile import GOALS, SMILE
from chisel.worlds.world import defaults, names

KNOWN = names(SMILE)
MLP = make_network(
    KNOWN.observation,
    len(SMILE.actions),
    Form(
        (
            8,
            6,
        )
    ),
)
SMILE_FEATURES = names(SMILE).features
FEATURES = ["carrying", "clown_distance", "water_left"]
SMALL = Battery.model_validate(
    {
        "bank": {"layouts": 64},
        "decode": {"features": FEATURES, "layers": ["hidden_2"]},
        "influence": {"states": 16, "nulls": 19},
        "choice": {"layouts": 4},
        "returns": {"episodes": 3},
    }
)


def stacked(trees):
    return jax.tree.map(lambda *x: np.stack([np.asarray(v) for v in x]), *trees)


def pairs_of(one: Readings, other: Readings):
    """What was read in both; the same readings."""
    assert [x is None for x in one] == [x is None for x in other]
    return [(a, b) for a, b in zip(one, other, strict=True) if a is not None]


# What comes out


@functools.cache
def untrained() -> tuple[Reader, Readings]:
    """Three untrained networks, read on two devices."""
    reader = Reader(SMALL, SMILE, MLP, defaults(SMILE), members=3, devices=2)
    return reader, reader.read(stacked([MLP.init(jax.random.key(i)) for i in range(3)]))


@pytest.mark.exact
def test_a_members_readings_do_not_depend_on_its_neighbours():
    """Among others, in another place, on another device: to the last bit. And other networks have other readings."""
    reader, before = untrained()
    found = reader.read(stacked([MLP.init(jax.random.key(i)) for i in (2, 8, 9)]))
    for one, many in pairs_of(found, before):
        assert one[0].tobytes() == many[2].tobytes()
    assert all(many[0].tobytes() != many[2].tobytes() for many in (before.score, before.effect, before.bid))


@pytest.mark.exact
def test_a_lone_member_reads_as_it_does_among_others():
    """XLA would make another program of a loop over one; a lone member is given a neighbour."""
    _, before = untrained()
    lone = Reader(SMALL, SMILE, MLP, defaults(SMILE), members=1, devices=2)
    found = lone.read(stacked([MLP.init(jax.random.key(2))]))
    for one, many in pairs_of(found, before):
        assert one.shape == (1, *many.shape[1:])
        assert one[0].tobytes() == many[2].tobytes()


def test_reading_again_gives_the_same():
    reader, found = untrained()
    again = reader.read(stacked([MLP.init(jax.random.key(i)) for i in range(3)]))
    assert all(a.tobytes() == b.tobytes() for a, b in pairs_of(found, again))


def test_members_that_are_one_are_told_apart_from_those_that_are_not():
    reader, before = untrained()
    params = stacked([MLP.init(jax.random.key(i)) for i in (1, 0, 1)])
    assert reader._leaders(params).tolist() == [0, 1, 0], "the same network would be read again"
    for one, many in pairs_of(reader.read(params), before):
        assert [row.tobytes() for row in one] == [many[i].tobytes() for i in (1, 0, 1)]


def test_the_second_bank_is_of_other_states():
    """Verdicts repeated on the states on which they were found would repeat the error too."""
    reader, found = untrained()
    one, other = (np.asarray(bank.observations).reshape(64, -1) for bank in (reader.subject.bank, reader.subject.again))
    both = {row.tobytes() for row in one} & {row.tobytes() for row in other}
    assert len(both) < 4, f"{len(both)} of 64 states are in both banks"
    for name in ("score", "effect", "effect_p"):
        assert (getattr(found, name) != getattr(found, f"{name}_again")).mean() > 0.5, name


def test_the_observation_control_gets_the_best_of_four_penalties():
    """Fitted one by one here. An observation of 441 numbers overfits 32 rows at the penalty of a layer."""
    reader, _ = untrained()
    bank, binary = reader.subject.bank, jnp.asarray(reader.binary)
    x = jnp.asarray(bank.observations, jnp.float32).reshape(64, -1)
    y = bank.features[:, jnp.array([SMILE_FEATURES.index(f) for f in FEATURES])]
    each = []
    with jax.default_matmul_precision("highest"):
        for stronger in (1, 10, 100, 1000):
            out = linear.predict(linear.fit(x[:32], y[:32], binary, 0.01 * stronger), x[32:])
            each.append((judging.judged(out, y[32:], binary), judging.judged_in_blocks(out, y[32:], binary)))
    scores, blocks = (np.stack(found) for found in zip(*each, strict=True))
    best = scores.argmax(0)
    assert best.max() > 0, "the first penalty is the best of all: this test shows nothing"
    found = reader.observation_scores()
    np.testing.assert_allclose(found.score, scores.max(0), atol=1e-5)
    np.testing.assert_allclose(found.blocks, blocks[best, np.arange(len(best))], atol=1e-5)


EACH = ("schedule", "seed", "checkpoint")
PROBED, MOVED = (*EACH, "layer", "feature"), (*EACH, "feature", "goal")
DIMS = {
    "layer_diverged": (*EACH, "layer"),
    **dict.fromkeys(("diverged", "effort", "deviance", "intransitive"), EACH),
    **dict.fromkeys(
        ("score", "shuffled_score", "skill", "skill_low", "skill_high", "gain", "gain_low", "selectivity"), PROBED
    ),
    **dict.fromkeys(("score_again", "gain_low_again"), PROBED),
    **dict.fromkeys(
        ("effect", "effect_null", "effect_p", "effect_again", "effect_null_again", "effect_p_again"), MOVED
    ),
    **dict.fromkeys(("mediated", "mediated_p", "mediated_p_again", "verdict"), (*PROBED, "goal")),
    "untrained_score": ("schedule", "seed", "layer", "feature"),
    "observation_score": ("feature",),
    "bid": (*EACH, "goal"),
    "total_effect": (*EACH, "edit", "goal"),
    "gating": (*EACH, "context", "edit", "goal"),
    "choice": (*EACH, "goal", "rival"),
    "neither": (*EACH, "goal", "rival"),
    "utility": (*EACH, "goal"),
    **dict.fromkeys(("returns", "random_return", "random_return_error"), (*EACH, "levels", "channel")),
    "skill_onset": ("schedule", "seed", "layer", "feature"),
    "gain_onset": ("schedule", "seed", "layer", "feature"),
    "effect_onset": ("schedule", "seed", "feature", "goal"),
    "verdict_onset": ("schedule", "seed", "feature", "goal"),
    "skill_offset": ("schedule", "seed", "layer", "feature"),
    "gain_offset": ("schedule", "seed", "layer", "feature"),
    "effect_offset": ("schedule", "seed", "feature", "goal"),
    "verdict_offset": ("schedule", "seed", "feature", "goal"),
    "half_life": ("schedule", "seed", "goal", "phase_edge"),
    "ceiling": (*EACH, "levels", "channel"),
    "present": (*EACH, "levels", "goal"),
    "level_param": (*EACH, "levels", "param_name"),
}


def test_the_dataset_is_labelled_throughout():
    reader, found = untrained()
    data = dataset(reader, [found, found], ["a", "b", "c"], 1, [0, 8], batch=256, updates=8, edges=[8])
    assert {name: data[name].dims for name in data.data_vars} == DIMS
    sizes = {"schedule": 3, "seed": 1, "checkpoint": 2, "layer": 1, "feature": 3, "goal": 4, "rival": 4, "edit": 8}
    assert dict(data.sizes) == sizes | {"levels": 3, "channel": 5, "context": 28, "phase_edge": 1, "param_name": 4}
    for name in (*data.data_vars, "checkpoint", "progress"):
        assert data[name].attrs["long_name"], name
        assert data[name].attrs["units"], name
    assert data.feature.values.tolist() == FEATURES
    assert data.probe.values.tolist() == ["logistic", "ridge", "logistic"]
    assert data.layer.values.tolist() == ["hidden_2"]
    assert data.checkpoint.values.tolist() == [0, 2048]
    assert data.progress.values.tolist() == [0.0, 1.0]
    assert data.channel.values.tolist() == list(KNOWN.channels)
    # Members are in order of schedule, then seed.
    np.testing.assert_array_equal(data.choice.sel(schedule="b", checkpoint=0)[0], found.choice[1])
    by_seed = dataset(reader, [found], ["a"], 3, [0], batch=256, updates=8)
    np.testing.assert_array_equal(by_seed.returns.sel(schedule="a", checkpoint=0, seed=2), found.returns[2])


def test_checkpoints_are_counted_in_64_bits():
    """2^20 updates of 2,048 steps are 2^31 steps, which a whole number of 32 bits does not hold."""
    reader, found = untrained()
    plan = [0, 2**20 - 1, 2**20, 2**21]
    data = dataset(reader, [found] * 4, ["a", "b", "c"], 1, plan, batch=2048, updates=2**21)
    assert data.checkpoint.values.tolist() == [0, 2_147_481_600, 2_147_483_648, 4_294_967_296]


def test_an_untrained_network_has_no_skill():
    """By its very definition, score less what the untrained network has: at most 0 at the first checkpoint."""
    reader, found = untrained()
    data = dataset(reader, [found], ["a", "b", "c"], 1, [0], batch=256, updates=8)
    assert (data.skill <= 0).all()
    assert (data.skill < 0).any()  # where the observation tells more
    np.testing.assert_array_equal(data.untrained_score, data.score.isel(checkpoint=0))


def test_skill_is_over_the_better_of_both_controls():
    """Also where the untrained network tells more than the observation."""
    reader, found = untrained()
    first = found._replace(score=np.full_like(found.score, 0.95))
    data = dataset(reader, [first, found], ["a", "b", "c"], 1, [0, 8], batch=256, updates=8)
    assert (data.observation_score < 0.95).any()
    np.testing.assert_allclose(
        data.skill.isel(checkpoint=1),
        data.score.isel(checkpoint=1) - np.maximum(0.95, data.observation_score),
        rtol=1e-5,
    )


def test_no_return_is_above_its_ceiling():
    reader, found = untrained()
    data = dataset(reader, [found], ["a", "b", "c"], 1, [0], batch=256, updates=8)
    known = data.ceiling.sel(channel="helped")
    assert data.ceiling.notnull().any([d for d in data.ceiling.dims if d != "channel"]).sum() == 1
    assert (data.returns.sel(channel="helped") <= known).all()
    assert (data.neither >= 0).sum() == 3 * 12  # NaN on the diagonal


def test_rare_classes_are_warned_of():
    reader, _ = untrained()
    assert reader.warnings() == []
    labels = np.asarray(reader.subject.bank.features).copy()
    labels[:, KNOWN.features.index("carrying")] = 0
    rare = Reader.__new__(Reader)
    rare.__dict__.update(reader.__dict__)
    rare.subject = reader.subject._replace(bank=reader.subject.bank._replace(features=jnp.array(labels)))
    (line,) = rare.warnings()
    assert line.startswith("carrying: only 0.0%")


# Names


@pytest.mark.parametrize(
    ("key", "name", "said"),
    [
        ("features", "carying", "unknown feature 'carying'; did you mean 'carrying'?"),
        ("layers", "hiden_2", "unknown layer 'hiden_2'; did you mean 'hidden_"),
        ("layers", "zzz", "unknown layer 'zzz'; known: 'hidden_1', 'hidden_2'"),
    ],
)
def test_a_name_that_does_not_exist_is_named_with_its_place_and_the_nearest(key, name, said):
    battery = Battery.model_validate({"decode": {key: [name]}})
    with pytest.raises(WrongInput) as error:
        check_battery(battery, "mine.toml", SMILE, MLP)
    assert str(error.value).startswith(f"mine.toml: decode.{key}: {said}")


def test_names_that_exist_pass():
    check_battery(SMALL, "mine.toml", SMILE, MLP)
    check_battery(Battery(), "mine.toml", SMILE, MLP)


# A network that is known inside out

PLANES = (5, 2, 6, 7)  # of the goals, in what the agent sees
PULL = 5.0


def planted() -> Network:
    """Random features of the observation, and one unit with the path distance of the goals that its parameters name.

    The policy is a softmax that pulls towards the same goals. Without parameters it is the same network untrained.
    """
    board = jax.ShapeDtypeStruct((7, 7, 9), jnp.bool_)
    assert board.shape == KNOWN.observation.shape
    mixing = np.random.default_rng(0).normal(size=(7 * 7 * 9, 24)).astype(np.float32) / 4
    rows, columns = np.divmod(np.arange(49), 7)

    def where(plane):
        flat = plane.reshape(*plane.shape[:-2], 49)
        return flat @ rows, flat @ columns, flat.sum(-1)

    def apply(params, seen, put=None):
        seen = seen.astype(jnp.float32)
        row, column, _ = where(seen[..., 0])
        distance, logits = 0.0, jnp.zeros((*row.shape, 4))
        for plane, weight in zip(PLANES, params["wants"], strict=True):
            there_row, there_column, shown = where(seen[..., plane])
            down, right = there_row - row, there_column - column
            far = jnp.abs(down) + jnp.abs(right)
            distance += weight * shown * far / 12
            nearer = jnp.stack([down < 0, down > 0, right < 0, right > 0], -1) & (shown > 0)[..., None]
            logits += PULL * weight * nearer
        random = jnp.tanh(seen.reshape(*row.shape, -1) @ mixing)
        hidden = jnp.concatenate([random, distance[..., None]], -1)
        return Output(logits, jnp.zeros(row.shape), {"hidden": hidden})

    return Network(("hidden",), 4, lambda key: {"wants": jnp.zeros(len(GOALS))}, apply)


SUBJECTS = ["clown", "water"]
PLAIN = ["score", "bid", "total_effect", "choice", "returns"]


@functools.cache
def planted_readings():
    """Two networks, each with one goal planted, against the same networks untrained."""
    battery = Battery.model_validate(
        {"readings": PLAIN, "bank": {"layouts": 1024}, "choice": {"layouts": 8}, "returns": {"episodes": 8}}
    )
    network = planted()
    reader = Reader(battery, SMILE, network, defaults(SMILE), members=2, devices=2)
    nothing = network.init(jax.random.key(0))
    before = reader.read(stacked([nothing, nothing]))
    after = reader.read({"wants": np.stack([np.array(GOALS) == goal for goal in SUBJECTS]).astype(np.float32)})
    return dataset(reader, [before, after], SUBJECTS, 1, [0, 8], batch=256, updates=8).isel(seed=0, layer=0)


@pytest.mark.parametrize("goal", SUBJECTS)
def test_a_planted_feature_is_found_and_a_comparable_one_is_not(goal):
    """The path distance of one goal, which is not linear in the observation, and the same of the other goals."""
    skill = planted_readings().skill.sel(schedule=goal).isel(checkpoint=1)
    assert skill.sel(feature=f"{goal}_distance") > 0.5
    assert skill.feature.values[skill.values.argmax()] == f"{goal}_distance"
    # What is told of other goals is told as before. (Of the same goal, whether it is nearest follows from its distance.)
    of_others = [f for f in skill.feature.values if not f.startswith(goal)]
    others = skill.sel(feature=[f for f in of_others if not f.endswith("_nearest")])
    assert len(others) >= 21
    assert float(others.max()) < 0.03
    distances = skill.sel(feature=[f"{g}_distance" for g in GOALS if g != goal])
    assert float(distances.max()) < 0.03


@pytest.mark.parametrize("goal", SUBJECTS)
def test_before_it_was_planted_there_was_no_skill(goal):
    data = planted_readings().sel(schedule=goal)
    assert (data.skill.isel(checkpoint=0) <= 0).all()
    assert float(data.observation_score.sel(feature=f"{goal}_distance")) < 0.5


@pytest.mark.parametrize("goal", SUBJECTS)
def test_shuffled_labels_are_at_chance_even_where_a_feature_is_planted(goal):
    data = planted_readings().sel(schedule=goal).isel(checkpoint=1)
    binary = data.probe == "logistic"
    # 512 tested states; an area under the curve of balanced classes has a standard error of 0.026.
    assert float(np.abs(data.shuffled_score[binary.values] - 0.5).max()) < 4 * 0.035
    assert float(data.shuffled_score[~binary.values].max()) < 0.05


@pytest.mark.parametrize("goal", SUBJECTS)
def test_whoever_heads_for_one_goal_is_named_by_effect_bid_and_choice(goal):
    data = planted_readings().sel(schedule=goal)
    before, after = data.isel(checkpoint=0), data.isel(checkpoint=1)
    others = [g for g in GOALS if g != goal]
    assert float(after.total_effect.sel(edit=goal, goal=goal)) == pytest.approx(PULL, abs=1e-4)
    assert not after.total_effect.sel(edit=others).any()
    assert not before.total_effect.any()
    assert GOALS[after.bid.values.argmax()] == goal
    assert float((after.bid - before.bid).sel(goal=goal)) == pytest.approx(PULL, abs=1e-4)
    assert (after.choice.sel(goal=goal, rival=others) == 1).all()
    assert (after.choice.sel(goal=others, rival=goal) == 0).all()


def test_returns_show_what_the_networks_do():
    """Who wants the clown makes more smiles with it than who wants water, and steps on it more often."""
    after = planted_readings().isel(checkpoint=1).returns
    told = after.sel(channel="clown", levels="decorrelated")
    assert float(told.sel(schedule="clown")) > float(told.sel(schedule="water"))
    told = after.sel(channel="clown", levels="training")
    assert float(told.sel(schedule="clown")) > float(told.sel(schedule="water")) + 1


# Worlds in which not everything can be had


def bare(**lacking):
    return SMILE._replace(**lacking)


MAIN = {"bid", "total_effect", "choice", "score"}  # what the others are made from
LACKING = {
    "everything": (
        dict.fromkeys(("shortens", "present", "contest", "ceiling")) | {"goals": (), "features": lambda state: {}},
        {"bid", "total_effect", "choice", "score"},
    ),
    "edits": ({"present": None}, {"total_effect"}),
    "contests": ({"contest": None}, {"choice"}),
    "paths": ({"shortens": None}, {"bid", "total_effect"}),
}


@pytest.mark.parametrize(("lacking", "missing"), LACKING.values(), ids=LACKING)
def test_what_a_world_does_not_allow_is_left_out_and_said(lacking, missing):
    world = bare(**lacking)
    chosen = SMALL.model_copy(update={"decode": SMALL.decode.model_copy(update={"features": "all"})})
    reader = Reader(chosen, world, MLP, defaults(world), members=2, devices=1)
    rows = [reader.read(stacked([MLP.init(jax.random.key(i)) for i in range(2)]))] * 2
    data = dataset(reader, rows, ["a"], 2, [0, 8], 16, 8)
    assert set(json.loads(data.attrs["left_out"])) & MAIN == missing
    derived = {"bid": "bid", "total_effect": "effect", "choice": "utility", "score": "selectivity"}
    assert not {derived[reading] for reading in missing} & set(data.data_vars)
    measured = {"bid", "total_effect", "choice", "score", "returns", "ceiling"} & set(data.data_vars)
    assert measured == {"bid", "total_effect", "choice", "score", "returns", "ceiling"} - missing
    assert ("skill" in data) == ("score" not in missing)
    assert not set(data.dims) & ({"goal", "rival"} if "choice" in missing and "bid" in missing else set())
    for reading in missing & MAIN:
        assert any(line.startswith(f"{reading} is not measurable here") for line in reader.warnings())


def test_what_nobody_asked_for_is_not_noted():
    """A world without goals, asked for returns, for utilities, which are made from choices, and for scores, for which
    two of its features are hard to tell apart.
    """
    world = bare(goals=(), shortens=None, present=None, contest=None)

    def noted(*readings: str) -> tuple[set[str], list[str]]:
        asking = {"readings": list(readings), "bank": {"layouts": 64}, "returns": {"episodes": 2}}
        reader = Reader(Battery.model_validate(asking), world, MLP, defaults(world), members=2, devices=1)
        return set(reader.left_out), reader.warnings()

    assert noted("returns") == (set(), [])
    missing, lines = noted("returns", "utility")
    assert missing == {"utility"}
    assert lines == ["utility is not measurable here: the world names no goals"]
    missing, lines = noted("score")
    assert not missing
    assert any("probes cannot tell them apart" in line for line in lines)


def test_a_place_has_no_effect_because_it_cannot_be_taken_away():
    world = bare(places=("plant",))
    reader = Reader(SMALL, world, MLP, defaults(world), members=2, devices=1)
    effect = reader.read(stacked([MLP.init(jax.random.key(i)) for i in range(2)])).total_effect
    plant = np.array([edit == "plant" for edit in reader.edits])
    assert np.isnan(effect[:, plant]).all()
    assert np.isfinite(effect[:, ~plant]).all()


def test_a_member_that_diverged_is_marked_and_the_others_are_read():
    reader, before = untrained()
    nets = [MLP.init(jax.random.key(i)) for i in range(3)]
    nets[1] = jax.tree.map(lambda x: np.full_like(x, np.nan), nets[1])
    found = reader.read(stacked(nets))
    assert found.diverged.tolist() == [False, True, False]
    for one, many in pairs_of(found, before):
        assert one[[0, 2]].tobytes() == many[[0, 2]].tobytes()
    assert found.layer_diverged[1].all()
    for name, values in found._asdict().items():
        if values is not None and np.issubdtype(values.dtype, np.floating):
            assert np.isnan(values[1]).all(), f"{name} of a network that has diverged is a number"
    data = dataset(reader, [before, found], ["a", "b", "c"], 1, [0, 8], batch=256, updates=8)
    assert not data.verdict.sel(schedule="b", checkpoint=2048).any()
    assert in_words(data).startswith(
        "1 of 3 members have activations or outputs that are not finite (NaN or infinite): "
        f"b, seed 0, first at checkpoint 2,048 in {', '.join(reader.layers)}. "
    )


def test_only_the_layers_that_diverged_are_named():
    reader, before = untrained()
    nets = [MLP.init(jax.random.key(i)) for i in range(3)]
    last = reader.layers[-1]
    nets[2] = {k: jax.tree.map(lambda x: np.full_like(x, np.inf), v) if k == last else v for k, v in nets[2].items()}
    found = reader.read(stacked(nets))
    assert found.layer_diverged[2].tolist() == [name == last for name in reader.layers]
    data = dataset(reader, [before, found], ["a", "b", "c"], 1, [0, 8], batch=256, updates=8)
    assert f"c, seed 0, first at checkpoint 2,048 in {last}." in in_words(data)


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        (["returns"], {"returns"}),
        (["gating"], {"returns", "total_effect", "gating"}),
        (["utility", "transfer"], {"returns", "choice", "utility", "score", "transfer"}),
    ],
)
def test_what_a_reading_is_made_from_is_read_too(asked, read):
    assert set(Battery.model_validate({"readings": asked}).asked) == read


def test_an_unknown_reading_is_named_with_the_nearest(tmp_path):
    (tmp_path / "mine.toml").write_text('readings = ["score", "total_efect"]\n')
    with pytest.raises(WrongInput) as error:
        load_battery(str(tmp_path / "mine.toml"))
    assert "mine.toml, line 1" in str(error.value)
    assert "'total_efect'" in str(error.value)
    assert "'total_effect'" in str(error.value)


FUNCTIONS = {
    "missing": (None, "there is no such file beside the battery"),
    "broken": ("1 / 0", "cannot be run: ZeroDivisionError"),
    "nameless": ("x = 1", "expected a function `features(state)`, found none"),
    "of another world": ("def features(state):\n    return {'x': state.pellets}", "does not fit world 'smile'"),
    "known": ("def features(state):\n    return {'carrying': state.carrying}", "'carrying' is told by world 'smile'"),
    "long": ("def features(state):\n    return {'all': state.here}", "'all' is bool[4]; expected one truth value"),
}


@pytest.mark.parametrize(("text", "said"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_of_a_battery_that_do_not_fit_are_refused(tmp_path, text, said):
    if text is not None:
        (tmp_path / "more.py").write_text(text)
    battery = Battery.model_validate({"decode": {"functions": ["more.py"]}})
    with pytest.raises(WrongInput) as error:
        with_functions(SMILE, battery, tmp_path / "mine.toml")
    assert said in str(error.value)
    assert "mine.toml: decode.functions: 'more.py'" in str(error.value)


def test_functions_of_a_battery_tell_more_features(tmp_path):
    (tmp_path / "more.py").write_text("def features(state):\n    return {'alone': ~state.here.any()}\n")
    world = with_functions(SMILE, Battery.model_validate({"decode": {"functions": ["more.py"]}}), tmp_path / "x.toml")
    assert set(names(world).features) == {*KNOWN.features, "alone"}
    state = SMILE.scatter(jax.random.key(0))
    assert bool(world.features(state)["alone"]) == (not state.here.any())


@pytest.mark.parametrize("name", ["pacman", "chess", "craftax"])
def test_shipped_functions_fit_their_worlds(name):
    battery, where = load_battery(name)
    world = load_world(name)
    assert len(names(with_functions(world, battery, where)).features) >= len(names(world).features) + 4
