"""The live part of a team's page, in a real browser: what it computes, and what a user does with it."""

import json
import shutil

import numpy as np
import pytest
import torch as th
from torch import nn

from cesma_sb3.analysis.html_report import write_watch_page
from cesma_sb3.analysis.html_report.live import ACTIVATIONS, describe, live_team, scripts
from cesma_sb3.config.schema import Experiment
from cesma_sb3.envs.particle.navigation_comm import NavigationComm
from cesma_sb3.envs.particle.registry import make_scenario
from cesma_sb3.envs.particle.speaker_listener import SpeakerListener
from cesma_sb3.envs.particle.spread import Spread
from cesma_sb3.policies import TeamPolicy
from cesma_sb3.training.load import load_students
from cesma_sb3.training.run_folder import RunFolder
from tests.page.browser import BROWSER, ask

in_a_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")

TRAINED = ("spread-3", "spread-6-hetero", "speaker-listener", "navigation-comm", "navigation-comm-3")
STEPS = 25


def new_team(scenario, activation, **kwargs):
    """Students of a scenario that have learned nothing."""
    th.manual_seed(0)
    team, activation_fn = scenario.team(), getattr(nn, activation)
    return TeamPolicy(
        *(team.observation_space, team.action_space, lambda _: 1e-3),
        **{"team": team, "activation_fn": activation_fn, "hidden_sizes": (16, 16), **kwargs},
    )


def played(scenario, policy, described, change=(), *, square=1.0):
    """An episode in Python, and what the page needs to play the same; it begins in [-square, square]."""
    world = scenario.new_world(1)
    scenario.reset(world, np.random.default_rng(7), np.arange(1))
    positions = square * world.positions
    if square < 1.0:  # just touching, where the soft wall is felt
        positions[1] = positions[0] + [[scenario.agents[0].size + scenario.agents[1].size], [0.0]]
    world.place(np.arange(1), positions)
    agents = [policy.agent(body.name) for body in scenario.agents]
    state, goals = world.get_state(), scenario.goals(world)
    steps = []
    for _ in range(STEPS):
        observation = scenario.observe(world)
        seen = [observation[:, where] for where in policy.team.observation_slices]
        with th.no_grad():
            outputs = [
                agent(th.as_tensor(each))[0].tolist() for agent, each in zip(agents, seen, strict=True)
            ]
        actions, _ = policy.predict(observation, deterministic=True)
        push, messages = scenario.controls.apply(actions)
        world.step(push, messages)
        steps.append(
            {
                "observations": [each[0].tolist() for each in seen],
                "outputs": outputs,
                "pushes": push[:, :, 0].tolist(),
                "messages": None if messages is None else messages[:, :, 0].tolist(),
                "at": world.agent_positions[:, :, 0].tolist(),
                "velocities": world.velocities[:, :, 0].tolist(),
                "rewards": scenario.rewards(world)[:, 0].tolist(),
            }
        )
    parts = [
        [[part.name, part.kind, part.count, part.size, part.is_planar] for part in layout.parts]
        for layout in map(scenario.observation_layout, range(len(agents)))
    ]
    start = {"agents": state["positions"][0].tolist(), "landmarks": state["landmarks"][0].tolist()}
    start["goals"] = None if goals is None else goals[:, 0].tolist()
    return {"team": described, "change": change, "start": start, "parts": parts, "steps": steps}


def cases():
    """By name: trained teams, one with another agent and landmark, and every activation and option."""
    found = {}
    for name in TRAINED:
        folder = RunFolder.open(name)
        env = folder.experiment.env
        scenario = make_scenario(env.id, **env.kwargs)
        found[name] = played(scenario, load_students(folder), live_team(folder))
    folder, larger = RunFolder.open("spread-3"), Spread(4)
    change = [["add", "agents"], ["add", "landmarks"], ["add", "agents"], ["remove", "agents"]]
    found["grown"] = played(larger, load_students(folder, larger.team()), live_team(folder), change)
    entities = {"network": "entities", "use_agent_id": True, "n_neighbours": 2}
    others = (
        (Spread(5, reward="mpe2", local_ratio=0.3), {"activation": "Tanh", **entities}),
        (Spread(2, heterogeneous=True, continuous_actions=True), {"activation": "ELU"}),
        (SpeakerListener(continuous_actions=True), {"activation": "LeakyReLU"}),
        (NavigationComm(3, n_landmarks=2, reward="mpe2"), {"activation": "SiLU", "share_parameters": True}),
        (NavigationComm(2, n_symbols=4), {"activation": "Sigmoid", "network": "entities"}),
        (Spread(2), {"activation": "ReLU", "hidden_sizes": ()}),
    )
    for scenario, kwargs in others:
        policy = new_team(scenario, **kwargs)
        # So small that bodies touch from the first step on.
        case = played(scenario, policy, describe(scenario, policy), square=0.2)
        found[f"{scenario.name}, {kwargs['activation']}"] = case
    assert {kwargs["activation"] for _, kwargs in others} == set(ACTIVATIONS)
    return found


COMPARE = """
    const compared = {};
    for (const [name, { team, change, start, parts, steps }] of Object.entries(cases)) {
      const play = new TeamAtPlay(team), { world } = play, errors = {};
      for (const [what, kind] of change) play[what](kind);
      world.agents.forEach((agent, i) =>
        Object.assign(agent, { at: [...start.agents[i]], velocity: [0, 0] }));
      world.landmarks.forEach((landmark, i) => { landmark.at = [...start.landmarks[i]]; });
      world.goals = start.goals;
      for (const agent of world.agents) agent.message = world.silence();
      play.decide();
      const compare = (what, mine, theirs) => {
        const flat = mine.flat(Infinity), wanted = theirs.flat(Infinity);
        if (flat.length !== wanted.length) throw Error(`${name}: ${what} ${flat.length}, ${wanted.length}`);
        const apart = flat.map((x, i) => Math.abs(x - wanted[i]) / Math.max(1, Math.abs(wanted[i])));
        const error = Math.max(0, ...apart);
        errors[what] = Math.max(errors[what] || 0, Number.isNaN(error) ? Infinity : error);
      };
      const mine = play.observations.map((each) =>
        each.map((part) => [part.name, part.kind, part.rows.length, part.size, part.planar]));
      errors.parts = JSON.stringify(mine) === JSON.stringify(parts) ? 0 : JSON.stringify(mine);
      for (const step of steps) {
        const { observations, decisions } = play;
        compare("observations", observations.map((each) => each.map((part) => part.rows)), step.observations);
        compare("outputs", decisions.map((each) => each.outputs), step.outputs);
        compare("pushes", decisions.map((each) => each.push), step.pushes);
        if (step.messages) compare("messages", decisions.map((each) => each.message), step.messages);
        play.step();
        compare("at", world.agents.map((each) => each.at), step.at);
        compare("velocities", world.agents.map((each) => each.velocity), step.velocities);
        compare("rewards", play.scenario.rewards(world, team.reward), step.rewards);
      }
      compared[name] = errors;
    }
    return compared;
"""


@pytest.mark.integration
@in_a_browser
def test_the_page_computes_what_python_does(tmp_path):
    given = cases()
    page = tmp_path / "cases.html"
    texts = [*scripts()[:3], f"const cases = {json.dumps(given)};"]
    tags = "".join(f"<script>{text}</script>" for text in texts)
    page.write_text(f"<!doctype html><html><head><meta charset='utf-8'></head><body>{tags}</body></html>")
    compared, faults = ask(page, COMPARE, tmp_path)
    assert faults == []
    assert set(compared) == set(given)
    for name, errors in compared.items():
        assert errors.pop("parts") == 0, name
        # Moves and symbols are the same, and what is computed from float32 weights is as good as equal.
        assert max(errors.values()) < 1e-5, (name, errors)


@pytest.mark.integration
@in_a_browser
def test_bodies_are_moved_by_pointer_and_keys_and_messages_are_changed(tmp_path):
    script = """
        const part = document.getElementById("live"), find = (selector) => part.querySelector(selector);
        const all = (selector) => [...part.querySelectorAll(selector)];
        const text = (selector) => find(selector).textContent, press = (key, more = {}) =>
          (find("g.selected:focus") || find("g.selected"))
            .dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
        const observed = () => text(".observation tbody"), { world } = live.play;
        const column = (title) => {
          const at = all(".agents th").findIndex((cell) => cell.textContent === title);
          return all(".agents tbody tr").map((row) => row.cells[at].textContent);
        };
        const told = { began: text(".score"), playing: text('[data-do="play"]') };
        told.sizes = find(".sizes").offsetHeight;
        told.labels = all("g[role=button]").map((each) => each.getAttribute("aria-label"));
        told.fits = [innerWidth, document.documentElement.scrollWidth];
        told.theme = document.documentElement.dataset.theme;

        const landmark = find("g.landmarks"), before = observed(), was = [...world.landmarks[0].at];
        find("svg.stage").scrollIntoView();
        const box = landmark.querySelector(".disk").getBoundingClientRect();
        const scale = find("svg.stage").clientWidth / 2.6;
        const x = box.x + box.width / 2, y = box.y + box.height / 2, step = was[0] > 0 ? -0.5 : 0.5;
        const point = (kind, dx) => landmark.dispatchEvent(new PointerEvent(kind,
          { clientX: x + dx, clientY: y, pointerId: 1, bubbles: true, cancelable: true }));
        point("pointerdown", 0);
        for (const share of [0.5, 1]) point("pointermove", share * step * scale);
        point("pointerup", step * scale);
        point("pointermove", 2 * step * scale);
        told.dragged = (world.landmarks[0].at[0] - was[0]) / step;
        told.changed = observed() !== before;
        told.status = text(".told");

        find('[data-do="play"]').focus();
        document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "1", bubbles: true }));
        told.selected = find("g.selected").getAttribute("aria-label");
        told.observes = text(".observation summary");
        world.agents[1].at = [0, 0];
        press("ArrowUp");
        press("ArrowRight", { shiftKey: true });
        told.moved = [...world.agents[1].at];
        press("c");
        told.letter = find("g.selected").getAttribute("aria-label");
        all("g.agents")[0].focus();
        told.focused = find("g.selected").getAttribute("aria-label");

        const goal = find('select[aria-label="Goal of agent_1"]'), unaware = observed();
        goal.value = (world.goals[1] + 1) % 3;
        goal.dispatchEvent(new Event("change"));
        told.goal = observed() !== unaware;

        find('[data-do="step"]').click();
        told.heard = [column("heard"), column("says")];
        const messages = find(".messages select");
        messages.value = "silenced";
        find('[data-do="step"]').click();
        told.silenced = column("heard");
        messages.value = "shuffled";
        find('[data-do="step"]').click();
        told.shuffled = column("heard");
        told.score = text(".score");

        press(" ");
        await wait(550);
        press(" ");
        told.steps = live.rewards.length;
        await wait(300);
        told.paused = live.rewards.length === told.steps;
        find('[data-do="reset"]').click();
        told.reset = live.rewards.length;
        return told;
    """
    page = write_watch_page("navigation-comm", tmp_path / "page.html", episodes=1)
    found, faults = ask(page, script, tmp_path, width=360, dark=True, still=True)
    assert faults == []
    assert found["began"].startswith("step 0, ")  # nothing moves by itself where motion is unwanted
    assert found["playing"] == "Play"
    assert found["sizes"] == 0  # its networks serve this team alone
    assert found["labels"] == [
        *("landmark A", "landmark B", "landmark C", "agent 0, agent_0", "agent 1, agent_1")
    ]
    assert found["fits"][0] == 360
    assert found["fits"][1] <= 360
    assert found["theme"] == "dark"
    assert found["dragged"] == pytest.approx(1.0, abs=0.02)
    assert found["changed"]
    assert found["status"].startswith("landmark A moved to ")
    assert found["selected"] == "agent 1, agent_1"
    assert found["observes"] == "What agent_1 observes"
    assert found["moved"] == pytest.approx([0.2, 0.05])
    assert (found["letter"], found["focused"]) == ("landmark C", "agent 0, agent_0")
    assert found["goal"]
    heard, says = found["heard"]
    assert all(symbol.isdigit() for symbol in (*heard, *says))
    assert found["silenced"] == ["\u2013", "\u2013"]
    assert all(symbol.isdigit() for symbol in found["shuffled"])
    assert found["score"].startswith("step 3, reward -")
    assert found["steps"] > 3
    assert found["paused"]
    assert found["reset"] == 0


@pytest.mark.integration
@in_a_browser
def test_a_team_of_entities_plays_by_itself_and_grows(tmp_path):
    script = """
        const part = document.getElementById("live"), find = (selector) => part.querySelector(selector);
        await wait(600);
        const played = live.rewards.length, told = { messages: find(".messages").offsetHeight };
        const click = (name) => find(`[data-do="${name}"]`).click();
        const count = () => [...["tbody tr", "g.agents", "g.landmarks"]
          .map((each) => part.querySelectorAll(each === "tbody tr" ? ".agents tbody tr" : each).length)];
        click("add-agents");
        click("add-landmarks");
        click("add-landmarks");
        told.grown = count();
        for (let n = 0; n < 4; n++) click("remove-agents");
        told.shrunk = [...count(), find('[data-do="remove-agents"]').disabled];
        const began = live.rewards.length;
        await wait(500);
        told.plays = played > 0 && live.rewards.length > began;
        told.fits = document.documentElement.scrollWidth <= 1100;
        live.stop();
        document.getElementById("play").click();
        return told;
    """
    page = write_watch_page("spread-3", tmp_path / "page.html", episodes=1)
    assert page.stat().st_size < 1_000_000
    found, faults = ask(page, script, tmp_path)
    assert faults == []
    assert found == {
        "messages": 0,
        "grown": [4, 4, 5],
        "shrunk": [2, 2, 5, True],
        "plays": True,
        "fits": True,
    }


def test_what_has_no_live_part(tmp_path):
    assert live_team(RunFolder.open("smax-2s3z")) is None
    folder = RunFolder.open(shutil.copytree(RunFolder.open("speaker-listener").path, tmp_path / "run"))
    assert live_team(folder) is not None
    for changed in ({"wrappers": [{"name": "normalize"}]}, {"agents": ["listener_0"], "others": "random"}):
        values = {**folder.experiment.to_mapping(), "env": {"id": "speaker-listener", **changed}}
        folder.experiment = Experiment.model_validate(values)
        assert live_team(folder) is None
    for kwargs in (
        {"activation": "GELU"},
        {"activation": "ReLU", "network": "recurrent", "hidden_sizes": (8,)},
    ):
        assert describe(Spread(2), new_team(Spread(2), **kwargs)) is None
