"""Agents as studies tell them: what cannot be is refused with its reason, and what is said arrives."""

import importlib.util
import tomllib
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chisel.agents import dqn, networks, policy_gradient, ppo, pqn
from chisel.agents.networks import ACTIVATIONS
from chisel.agents.policy import learned
from chisel.build.agents import make_agent, make_network
from chisel.build.build import load_study, resolve
from chisel.runs.estimate import check
from chisel.study.agents import (
    A2CPart,
    Activation,
    ConvPart,
    DQNPart,
    GRUPart,
    MLPPart,
    PPOPart,
    PQNPart,
    ReinforcePart,
)
from chisel.study.files import WrongInput
from chisel.study.study import Study
from chisel.worlds import WORLDS, load_world
from chisel.worlds.world import names

SMILE = WORLDS["smile"]
STUDY = """world = "{world}"
[agent]
{agent}
[training]
steps = 8192
rollout = 32
[[schedule]]
name = "pay"
{pay}
"""
AGENT = 3  # the line of the first key of the agent
PER_CHANNEL = 'critic = "per_channel"\nnetwork = { separate = true }'
OF_DQN = (
    "known: 'batch', 'discount', 'double', 'dueling', 'exploration', 'gradient_norm', 'gradient_steps', 'huber', "
    "'learner', 'learning_rate', 'n_step', 'network', 'replay', 'target_every', 'tau', 'temperature', 'warmup'"
)
OF_PPO = (
    "known: 'clip', 'critic', 'discount', 'entropy', 'epochs', 'exploration', 'gradient_norm', 'learner', "
    "'learning_rate', 'minibatches', 'network', 'trace', 'value_clip', 'value_weight'"
)
REPLAY = "is not a multiple of the 2048 steps of an update, and two of them at least; the nearest are 4096 and 6144"
NO_TEMPERATURE = (
    "has no temperature: its network gives a policy and not action values; how much it explores is set by `entropy`"
)
MIXED = (
    "is 0 (greedy) at some time, and the temperature is not 0 at others: bids would change from log-odds to differences "
    "of values; expected more than 0 everywhere, such as 0.001, or 0 everywhere"
)
LATE = "what is paid later is not told apart by channel; expected agent.critic = 'single', or no"
UNTIL_HALF = "phases = [{ until = 0.5, reward = {} },\n{ until = 1.0, reward = {}"

# What is written about the agent: the line that is named, and all that is said.
AGENTS = {
    "minibatches": ("minibatches = 7", 3, "agent.minibatches: 7 does not divide the 2048 samples of an update; the nearest is 8"),
    "minibatches, more than there are": ("minibatches = 5000", 3, "agent.minibatches: 5000 does not divide the 2048 samples of an update; the nearest is 2048"),
    "minibatches of worlds": (
        'minibatches = 24\nnetwork = { kind = "gru" }', 3,
        "agent.minibatches: 24 does not divide the 64 worlds (ppo with memory learns from whole stretches of worlds); the nearest is 16",
    ),
    "memory with dqn": (
        'learner = "dqn"\nnetwork = { kind = "gru" }', 4,
        "agent.network.kind: 'gru' is not for the learner 'dqn' (dqn learns from single steps of its replay, and cannot learn what to remember); expected 'mlp' or 'conv'",
    ),
    "a critic with dqn": ('learner = "dqn"\nnetwork = { separate = true }', 4, "agent.network.separate: true is not for the learner 'dqn', which has no critic beside its action values"),
    "replay, no multiple": ('learner = "dqn"\nreplay = 5000', 4, f"agent.replay: 5000 {REPLAY}"),
    "replay, of one rollout": ('learner = "dqn"\nreplay = 2048', 4, f"agent.replay: 2048 {REPLAY}"),
    "replay, of less": ('learner = "dqn"\nreplay = 1', 4, f"agent.replay: 1 {REPLAY}"),
    "warmup": ('learner = "dqn"\nreplay = 4096\nwarmup = 4097', 5, "agent.warmup: 4097 is more than the replay holds; expected at most 4096"),
    "n_step": ('learner = "dqn"\nreplay = 4096\nn_step = 64', 5, "agent.n_step: 64 is more than the replay holds of each world; expected at most 63"),
    "per channel, not apart": (
        'network = { widths = [8] }\ncritic = "per_channel"', 4,
        "agent.critic: 'per_channel' needs agent.network.separate = true, or heads of channels that nobody pays for would shape the layers that decide",
    ),
    "rollouts without an end": (
        'learner = "reinforce"', 6,
        "training.rollout is 32; the learner 'reinforce' learns from episodes that it sees to their end, which in 'smile' are up to 40 steps long; expected at least 40, better 80",
    ),
    "kind": ('network = { kind = "cnn" }', 3, "agent.network.kind is 'cnn'; did you mean 'conv'?"),
    "critic": ('critic = "per_chanel"', 3, "agent.critic is 'per_chanel'; did you mean 'per_channel'?"),
    "baseline": ('learner = "reinforce"\nbaseline = "values"', 4, "agent.baseline is 'values'; did you mean 'value'?"),
    "activation": ('network = { activation = "swich" }', 3, "agent.network.activation is 'swich'; did you mean 'swish'?"),
    "dtype": ('network = { dtype = "float16" }', 3, "agent.network.dtype is 'float16'; did you mean 'bfloat16' or 'float32'?"),
    "a layer of nothing": ("network = { widths = [8, 0] }", 3, "agent.network.widths[1] is 0; expected greater than or equal to 1"),
    "a key of ppo": ('learner = "dqn"\nclip = 0.1', 4, f"unknown key 'clip' in agent; {OF_DQN}"),
    "the entropy of others": ('learner = "dqn"\nentropy = 0.1', 4, f"unknown key 'entropy' in agent; {OF_DQN}"),
    "the temperature of others": ("temperature = 0.1", 3, f"agent.temperature: the learner 'ppo' {NO_TEMPERATURE}"),
    "soft in the beginning": ('learner = "dqn"\ntemperature = [[0, 1], [1, 0]]', 4, f"agent.temperature {MIXED}"),
    "below zero": ('learner = "pqn"\ntemperature = -1', 4, "agent.temperature: a temperature is at least 0, found -1; the nearest is 0"),
    "a critic with pqn": ('learner = "pqn"\nnetwork = { separate = true }', 4, "agent.network.separate: true is not for the learner 'pqn', which has no critic beside its action values"),
    "minibatches of worlds with pqn": (
        'learner = "pqn"\nminibatches = 24\nnetwork = { kind = "gru" }', 4,
        "agent.minibatches: 24 does not divide the 64 worlds (pqn with memory learns from whole stretches of worlds); the nearest is 16",
    ),
    "a key of dqn": ("dueling = true", 3, f"unknown key 'dueling' in agent; {OF_PPO}"),
    "a key with a slip": ('learner = "dqn"\ntarget_evry = 7', 4, "unknown key 'target_evry' in agent; did you mean 'target_every'?"),
    "a key of convolutions": ("network = { channels = [8] }", 3, "unknown key 'channels' in agent.network; known: 'activation', 'dtype', 'kind', 'layer_norm', 'separate', 'widths'"),
    "chance": ('learner = "dqn"\nexploration = 1.5', 4, "agent.exploration: a chance is between 0 and 1, found 1.5; the nearest is 1"),
}  # fmt: skip

# What is written about pay, which the agent cannot do: the line counted from there, and all that is said.
PAID = {
    "entropy": ('learner = "dqn"', "reward = {}\nentropy = 0.1", 1, "schedule 'pay'.entropy: the learner 'dqn' has no entropy bonus; it explores by `temperature` or `exploration`"),
    "entropy, in a phase": ('learner = "dqn"', UNTIL_HALF + ", entropy = 0.0 }]", 1, "schedule 'pay'.phases[1].entropy: the learner 'dqn' has no entropy bonus; it explores by `temperature` or `exploration`"),
    "entropy with pqn": ('learner = "pqn"', "reward = {}\nentropy = 0.1", 1, "schedule 'pay'.entropy: the learner 'pqn' has no entropy bonus; it explores by `temperature` or `exploration`"),
    "temperature": ("", "reward = {}\ntemperature = 0.1", 1, f"schedule 'pay'.temperature: the learner 'ppo' {NO_TEMPERATURE}"),
    "temperature, in a phase": ('learner = "a2c"', UNTIL_HALF + ", temperature = 0.0 }]", 1, f"schedule 'pay'.phases[1].temperature: the learner 'a2c' {NO_TEMPERATURE}"),
    "greedy at times": ('learner = "pqn"', UNTIL_HALF + ", temperature = [[0, 0.1], [1, 0]] }]", 1, f"schedule 'pay'.phases[1].temperature {MIXED}"),
    "delay": (PER_CHANNEL, "reward = { smile = 1.0, helped = { delay = 3 } }", 0, f"schedule 'pay'.reward.helped.delay: {LATE} delay"),
    "lump, in a phase": (PER_CHANNEL, UNTIL_HALF.replace("1.0, reward = {}", "1.0, reward = { smile = { lump = [[0, 0], [1, 0.5]] } } }]"), 1, f"schedule 'pay'.phases[1].reward.smile.lump: {LATE} lump"),
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def write(agent="", world="smile", pay="reward = {}"):
        path = tmp_path / "mine.toml"
        path.write_text(STUDY.format(world=world, agent=agent, pay=pay))
        return path

    return write


def complaint(path) -> str:
    with pytest.raises(WrongInput) as error:
        load_study(str(path))
    return str(error.value)


@pytest.mark.parametrize(("agent", "line", "said"), AGENTS.values(), ids=AGENTS)
def test_an_agent_that_cannot_be_is_refused_with_the_reason(write, agent, line, said):
    path = write(agent)
    line += agent.count("\n") if said.startswith("training") else 0  # the table comes after the agent's
    assert complaint(path) == f"{path}, line {line}: {said}"


@pytest.mark.parametrize(("agent", "pay", "line", "said"), PAID.values(), ids=PAID)
def test_pay_that_the_agent_cannot_be_given_is_refused_with_the_reason(write, agent, pay, line, said):
    path = write(agent, pay=pay)
    assert complaint(path) == f"{path}, line {AGENT + agent.count(chr(10)) + 6 + line}: {said}"


def test_pay_that_is_never_late_is_fine_after_all(write):
    never = load_study(str(write(PER_CHANNEL, pay="reward = { helped = { delay = 0, lump = [[0, 0], [1, 0]] } }")))
    assert never.schedule[0].reward["helped"].delay == 0
    late = load_study(str(write("", pay="reward = { helped = { delay = 3, lump = 0.5 } }")))
    assert late.schedule[0].reward["helped"].delay == 3


@pytest.mark.parametrize("world", ["posture", "gymnax:CartPole-v1"])
@pytest.mark.parametrize("kind", ["conv", "gru"])
def test_convolutions_of_what_is_no_board_are_refused(write, world, kind):
    """Whatever they are part of. Memory without them is for any world."""
    if ":" in world and importlib.util.find_spec("gymnax") is None:
        pytest.skip("needs gymnax")
    path = write(f'network = {{ kind = "{kind}", channels = [4] }}', world)
    text, shape = complaint(path), names(load_world(world)).observation.shape
    assert text.startswith(f"{path}, line 3: agent.network.")
    assert f"what the agent sees of {world!r} has the shape {shape} and not [height, width, planes]" in text
    load_study(str(write('network = { kind = "gru" }', world)))


@pytest.mark.parametrize("learner", ["ppo", "a2c", "dqn"])
def test_actions_that_are_numbers_are_refused(write, learner):
    if importlib.util.find_spec("gymnax") is None:
        pytest.skip("needs gymnax")
    path = write(f'learner = "{learner}"', "gymnax:Pendulum-v1")
    said = "world: Pendulum-v1 has continuous actions; chisel's learners choose among discrete ones"
    assert complaint(path) == f"{path}, line 1: {said}"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ('"reinforc"', "'reinforc'; did you mean 'reinforce'?"),
        ('"sarsa"', "'sarsa'; known: 'a2c', 'dqn', 'ppo', 'pqn', 'reinforce'"),
        ("3", "'3'; known: 'a2c', 'dqn', 'ppo', 'pqn', 'reinforce'"),
    ],
)
def test_a_learner_that_is_none_is_refused_with_the_nearest(write, found, said):
    assert complaint(write(f"learner = {found}")).endswith(f": agent.learner is {said}")


# What is said arrives

LEARNERS: dict[str, Any] = {"ppo": PPOPart, "a2c": A2CPart, "reinforce": ReinforcePart, "pqn": PQNPart, "dqn": DQNPart}
NETWORKS: dict[str, Any] = {"mlp": MLPPart, "conv": ConvPart, "gru": GRUPart}
OTHER = {
    "critic": "per_channel", "baseline": "value", "learning_rate": 7e-4, "discount": 0.875, "trace": 0.5, "clip": 0.3,
    "value_clip": True, "entropy": 0.25, "exploration": 0.125, "value_weight": 0.75, "gradient_norm": 3.0, "epochs": 5,
    "minibatches": 8, "double": False, "dueling": True, "n_step": 5, "replay": 8192, "warmup": 100, "batch": 32,
    "gradient_steps": 5, "target_every": 9, "huber": 2.0, "tau": 0.005, "temperature": 0.25,
}  # fmt: skip
CALLED = {"n_step": "hop", "replay": "rows", "gradient_steps": "descents"}  # otherwise by the learner
OF_OTHERS = {"learner", "network", "critic", "dueling", "learning_rate", "entropy", "exploration", "temperature"}
EVERY_KEY = [(name, key) for name, part in LEARNERS.items() for key in part.model_fields if key not in OF_OTHERS]


def study(agent: dict[str, Any], **more: Any) -> Study:
    return Study.model_validate(
        {"world": "smile", "agent": agent, "training": {"steps": 8192}, "schedule": [{"name": "x", "reward": {}}]}
        | more
    )


@pytest.fixture
def settings_of(monkeypatch):
    """What a learner is given, as a function of what a study says of its agent."""
    given: list[Any] = []

    def spy(module, name):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda network, *rest: given.append(rest[0]) or original(network, *rest))

    for module, name in (
        (ppo, "ppo"),
        (policy_gradient, "a2c"),
        (policy_gradient, "reinforce"),
        (pqn, "pqn"),
        (dqn, "dqn"),
    ):
        spy(module, name)

    def settings_of(agent):
        make_agent(study(agent), SMILE)
        return given.pop()._asdict()

    return settings_of


@pytest.mark.parametrize(("learner", "key"), EVERY_KEY)
def test_every_key_reaches_the_learner_and_no_other_does(settings_of, learner, key):
    usual, told = settings_of({"learner": learner}), settings_of({"learner": learner, key: OTHER[key]})
    field = CALLED.get(key, key)
    meant = {"replay": 8192 // 64, "warmup": 2}.get(key, OTHER[key])  # steps of each of 64 worlds, rounded up
    assert told[field] == meant != usual[field]
    assert told | {field: None} == usual | {field: None}


@pytest.mark.parametrize("learner", LEARNERS)
def test_what_a_study_does_not_say_is_as_its_part_says(settings_of, learner):
    found, part = settings_of({"learner": learner}), LEARNERS[learner]()
    in_worlds = {"replay": 131_072 // 64, "warmup": 2048 // 64}
    meant = {CALLED.get(k, k): in_worlds.get(k, getattr(part, k)) for name, k in EVERY_KEY if name == learner}
    assert found == meant


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_learner_made_in_python_has_the_defaults_of_a_study(settings_of, learner):
    kinds = {
        "ppo": ppo.Settings, "a2c": policy_gradient.A2CSettings, "reinforce": policy_gradient.ReinforceSettings,
        "pqn": pqn.Settings, "dqn": dqn.Settings,
    }  # fmt: skip
    assert kinds[learner]()._asdict() == settings_of({"learner": learner})


def test_a_network_made_in_python_has_the_defaults_of_a_study():
    form, part = networks.Form(), MLPPart()
    assert list(form.widths) == part.widths
    assert (form.activation, form.separate, form.dtype) == (part.activation, part.separate, part.dtype)


@pytest.mark.parametrize("learner", LEARNERS)
def test_what_a_schedule_sets_reaches_the_schedule(learner):
    keys = {"learning_rate", "entropy", "exploration", "temperature"} & set(LEARNERS[learner].model_fields)
    usual, told = (resolve(study({"learner": learner, **more})) for more in ({}, {k: OTHER[k] for k in keys}))
    for key in keys:
        np.testing.assert_allclose(np.asarray(getattr(told.schedules, key)(0.5)), OTHER[key], rtol=1e-6)
    assert usual.schedules.exploration is None
    soft = learner in ("pqn", "dqn")  # which would do the same for ever if they did not act by a softmax
    assert (usual.schedules.temperature is not None) == soft
    if soft:
        assert float(usual.schedules.temperature(0.5)[0]) == pytest.approx(0.02)


LAYERS = {
    "mlp": ({"widths": [4, 3]}, ("hidden_1", "hidden_2")),
    "conv": ({"channels": [2, 5], "widths": [4]}, ("conv_1", "conv_2", "hidden_1")),
    "gru": ({"widths": [4, 3]}, ("hidden_1", "gru")),
    "gru alone": ({"widths": [4]}, ("gru",)),
    "gru on conv": ({"channels": [2], "widths": [4, 3]}, ("conv_1", "hidden_1", "gru")),
}
UNITS = {"conv_1": 2 * 49, "conv_2": 5 * 49, "hidden_1": 4, "hidden_2": 3}


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(("kind", "form"), [(k.split()[0], form) for k, form in LAYERS.items()], ids=LAYERS)
def test_a_network_has_the_layers_that_were_asked_for(kind, form, apart):
    told, layers = form
    network = make_network(study({"network": {"kind": kind, "separate": apart, **told}}), SMILE)
    meant = layers + tuple(f"critic_{name}" for name in layers) * apart
    assert network.layers == meant
    out = jax.eval_shape(lambda k: network.apply(network.init(k), jnp.zeros((7, 7, 9), bool)), jax.random.key(0))
    units = UNITS | {"gru": told["widths"][-1]}
    assert {n: a.shape for n, a in out.activations.items()} == {n: (units[n.removeprefix("critic_")],) for n in meant}
    assert (out.logits.shape, out.value.shape) == ((4,), ())
    assert (network.unroll is not None) == (kind == "gru")
    assert not network.greedy


@pytest.mark.parametrize("learner", ["ppo", "a2c"])
def test_a_critic_per_channel_has_a_head_for_each_and_one_for_potentials(learner):
    agent = {"learner": learner, "critic": "per_channel", "network": {"separate": True}}
    guided = [{"name": "x", "reward": {}}, {"name": "y", "reward": {"shape.near_water": 1.0}}]
    assert make_network(study(agent), SMILE).parts == 5
    assert make_network(study(agent, schedule=guided), SMILE).parts == 6
    assert make_network(study({"learner": learner}), SMILE).parts is None


def test_dtype_and_activation_reach_the_network():
    seen, key = jax.random.bernoulli(jax.random.key(1), 0.3, (7, 7, 9)), jax.random.key(0)

    def hidden(**told):
        network = make_network(study({"network": {"widths": [8], **told}}), SMILE)
        return np.asarray(network.apply(network.init(key), seen).activations["hidden_1"])

    plain, rough, relu = hidden(), hidden(dtype="bfloat16"), hidden(activation="relu")
    assert 0 < np.abs(plain - rough).max() < 0.02
    assert (relu >= 0).all()
    assert (plain < 0).any()
    np.testing.assert_allclose(np.tanh(relu), np.maximum(plain, 0), atol=1e-6)


@pytest.mark.parametrize("dueling", [False, True])
def test_the_network_of_dqn_says_action_values(dueling):
    network = make_network(study({"learner": "dqn", "dueling": dueling, "temperature": 0.0}), SMILE)
    params = jax.eval_shape(network.init, jax.random.key(0))
    heads = {"action_values", "state_value"} if dueling else {"action_values"}
    assert set(params) == {"hidden_1", "hidden_2"} | heads
    assert network.greedy


@pytest.mark.parametrize("learner", LEARNERS)
def test_where_players_alternate_what_follows_counts_against_who_moves(learner):
    agent = {"learner": learner, "discount": 0.875}
    assert make_agent(study(agent), SMILE).discount == 0.875
    assert make_agent(study(agent), SMILE._replace(alternating=True)).discount == -0.875


# There and back


PAIRS = [(learner, kind) for learner in LEARNERS for kind in NETWORKS if (learner, kind) != ("dqn", "gru")]


@pytest.mark.parametrize(("learner", "kind"), PAIRS)
@pytest.mark.parametrize("all_else", [False, True])
def test_toml_to_object_to_toml_is_the_identity(learner, kind, all_else):
    """Of every learner with every network; as it comes, and with every key told."""
    agent: dict[str, Any] = {"learner": learner, "network": {"kind": kind}}
    if all_else:
        agent |= {k: OTHER[k] for k in LEARNERS[learner].model_fields if k not in ("learner", "network")}
        told = {
            "widths": [5],
            "channels": [3],
            "activation": "relu",
            "separate": learner not in ("dqn", "pqn"),
            "dtype": "bfloat16",
        }
        agent["network"] |= {k: v for k, v in told.items() if k in NETWORKS[kind].model_fields}
    one = study(agent)
    assert (type(one.agent), type(one.agent.network)) == (LEARNERS[learner], NETWORKS[kind])
    again = Study.model_validate(tomllib.loads(one.to_toml()))
    assert again == one
    assert again.to_toml() == one.to_toml()
    written = tomllib.loads(one.to_toml())["agent"]
    assert set(written) == {k for k in LEARNERS[learner].model_fields if getattr(one.agent, k) is not None}
    assert set(written["network"]) == set(NETWORKS[kind].model_fields)
    assert written["learner"] == learner
    assert written["network"]["kind"] == kind


def test_an_agent_of_which_nothing_is_said_is_written_out():
    written = tomllib.loads(study({}).to_toml())["agent"]
    assert written["learner"] == "ppo"
    assert written["network"] == {
        "kind": "mlp", "widths": [64, 64], "activation": "tanh", "layer_norm": False, "separate": False,
        "dtype": "float32",
    }  # fmt: skip
    assert Study.model_validate({"world": "smile", "schedule": [{"name": "x", "reward": {}}]}).agent == PPOPart()
    assert study({"learner": "dqn"}).agent.network.activation == "relu"


def test_what_a_replay_takes_is_in_the_estimate():
    """Of a step its observation, as bits, and 13 bytes; and one observation more for every time limit of each world."""
    sizes = []
    for replay in (4096, 8192):
        of = study(
            {"learner": "dqn", "replay": replay}, training={"steps": 8192, "seeds": 1, "checkpoints": {"count": 1}}
        )
        found = check(of, 1, measure=False)
        sizes.append(found.disk // len(found.checkpoints))
    observation = -(-names(SMILE).observation.size // 8)
    finals = 64 * (-(-128 // SMILE.limit) - -(-64 // SMILE.limit))
    assert sizes[1] - sizes[0] == 4096 * (observation + 13) + finals * observation


@pytest.mark.parametrize("kind", NETWORKS)
def test_layers_of_action_values_are_normalised_unless_told_otherwise(kind):
    """Whatever else is said of the network, and of no other learner."""
    for learner in ("pqn", "dqn"):
        assert study({"learner": learner}).agent.network == MLPPart(activation="relu", layer_norm=True)
    for learner, told, meant in (("pqn", {}, True), ("pqn", {"layer_norm": False}, False), ("ppo", {}, False)):
        asked = study({"learner": learner, "network": {"kind": kind, "widths": [4, 3], **told}})
        params = jax.eval_shape(make_network(asked, SMILE).init, jax.random.key(0))
        assert any("scale" in layer for layer in learned(params).values()) == meant
        assert asked.agent.network.layer_norm == meant


def test_every_activation_that_may_be_named_is_one():
    assert set(get_args(Activation)) == set(ACTIVATIONS)
