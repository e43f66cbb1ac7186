"use strict";
// The live part of a page: its buttons, what each agent does, says, hears and observes, and the team's reward.

const SHOWN_STEPS = 100; // of the curve of rewards
const ARROWS = ["·", "←", "→", "↓", "↑"];

class LivePart {
  constructor(team) {
    this.play = new TeamAtPlay(team);
    this.other = new TeamAtPlay(team); // the episode whose messages are heard when messages are shuffled
    this.timer = null;
    this.rewards = [];
    this.part = document.getElementById("live");
    this.stage = new Stage(this.find("svg.stage"), this.play, {
      chosen: () => this.observe(),
      moved: () => { this.tellMoved(); this.draw(); },
    });
    this.buildRows();
    this.wire();
    this.draw();
  }

  find(selector) { return this.part.querySelector(selector); }

  wire() {
    const on = (name, act) => this.find(`[data-do="${name}"]`).addEventListener("click", act);
    on("play", () => this.timer === null ? this.start() : this.stop());
    on("step", () => { this.stop(); this.step(); });
    on("reset", () => this.reset());
    for (const kind of ["agents", "landmarks"]) {
      on(`add-${kind}`, () => this.change("add", kind));
      on(`remove-${kind}`, () => this.change("remove", kind));
    }
    this.find(".messages").hidden = !this.play.talks();
    this.find(".sizes").hidden = !this.play.canHave(this.play.world.agents.length, this.play.world.landmarks.length);
    this.part.addEventListener("keydown", (event) => { if (this.key(event)) event.preventDefault(); });
    this.enable();
  }

  // Whether the key was one of this part. Arrows and Space keep their meaning outside of the picture.
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return false;
    if (this.stage.selectByKey(event.key)) return true;
    if (!event.target.closest(".stage")) return false;
    if (event.key !== " ") return this.stage.moveByKey(event.key, event.shiftKey);
    this.timer === null ? this.start() : this.stop();
    return true;
  }

  start() {
    this.timer = setInterval(() => this.step(), 1000 * TIME_STEP);
    this.find('[data-do="play"]').textContent = "Pause";
    this.find("svg.stage").classList.add("playing");
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.find('[data-do="play"]').textContent = "Play";
    this.find("svg.stage").classList.remove("playing");
  }

  step() {
    const { play } = this;
    this.rewards.push(play.step(this.received()));
    this.stage.keepHeld();
    this.draw();
  }

  // What is heard in place of what is said: nothing, or what the agents of another episode say; null for no change.
  received() {
    const { other, play } = this, choice = this.find(".messages select").value;
    if (choice === "silenced") return play.world.agents.map(() => play.world.silence());
    if (choice !== "shuffled") return null;
    if (this.rewards.length % play.team.episode_steps === 0) other.reset();
    other.step();
    return other.decisions.map((each) => each.message);
  }

  reset() {
    this.play.reset();
    this.other.reset();
    this.rewards = [];
    this.draw();
  }

  // Adds or removes a body.
  change(what, kind) {
    this.play[what](kind);
    this.other[what](kind);
    this.stage.build();
    this.buildRows();
    this.enable();
    this.draw();
    this.say(`${this.play.world.agents.length} agents, ${this.play.world.landmarks.length} landmarks`);
  }

  enable() {
    const { agents, landmarks } = this.play.world;
    const changes = { "add-agents": [1, 0], "remove-agents": [-1, 0], "add-landmarks": [0, 1], "remove-landmarks": [0, -1] };
    for (const [name, [a, l]] of Object.entries(changes))
      this.find(`[data-do="${name}"]`).disabled = !this.play.canHave(agents.length + a, landmarks.length + l);
  }

  say(text) { this.find(".told").textContent = text; }

  tellMoved() {
    const { kind, index } = this.stage.selected, { at, body } = this.stage.body();
    const name = kind === "agents" ? body.name : `landmark ${letter(index)}`;
    this.say(`${name} moved to ${at[0].toFixed(2)}, ${at[1].toFixed(2)}`);
  }

  // A row for each agent: number and name, what it does, says and hears, and its goal.
  buildRows() {
    const { world, scenario } = this.play, talks = this.play.talks();
    const titles = ["agent", "does", ...talks ? ["says", "heard"] : [], ...world.goals ? ["goal"] : []];
    this.find(".agents thead").replaceChildren(row("th", titles));
    this.rows = world.agents.map((agent, i) => {
      const made = row("td", titles.map(() => "")), cells = Object.fromEntries(titles.map((title, n) => [title, made.cells[n]]));
      const dot = document.createElement("span");
      dot.className = "dot";
      dot.textContent = i;
      cells.agent.append(dot, agent.body.name);
      if (world.goals && scenario.hasGoal(i)) cells.goal.append(this.chooseGoal(i));
      return { made, cells, dot };
    });
    this.find(".agents tbody").replaceChildren(...this.rows.map(({ made }) => made));
  }

  chooseGoal(i) {
    const { world } = this.play, choice = document.createElement("select");
    choice.setAttribute("aria-label", `Goal of ${world.agents[i].body.name}`);
    world.landmarks.forEach((_, n) => choice.add(new Option(letter(n), n)));
    choice.addEventListener("change", () => {
      world.goals[i] = Number(choice.value);
      this.play.decide();
      this.draw();
    });
    return choice;
  }

  draw() {
    const { world, decisions } = this.play;
    this.stage.draw();
    this.rows.forEach(({ cells, dot }, i) => {
      const { move, confidence, push, symbol } = decisions[i];
      dot.style.borderColor = this.stage.colorOf(i);
      if (move !== null) cells.does.textContent = `${ARROWS[move]} ${MOVES[move]} ${Math.round(100 * confidence)}%`;
      else cells.does.textContent = world.agents[i].body.movable ? push.map((x) => x.toFixed(1)).join(", ") : "–";
      if (cells.says) cells.says.textContent = symbol === null ? "–" : symbol;
      if (cells.heard) cells.heard.textContent = this.heard(i);
      const choice = cells.goal && cells.goal.querySelector("select");
      if (choice) choice.value = world.goals[i];
    });
    this.observe();
    this.drawRewards();
  }

  // The symbols that an agent received at the last step.
  heard(i) {
    const messages = this.play.observations[i].filter((part) => part.kind === "message").flatMap((part) => part.rows);
    return messages.map((each) => each.some((x) => x > 0) ? argmax(each) : "–").join(", ") || "–";
  }

  // What the selected agent observes, number by number; of a selected landmark, the agent that was last selected.
  observe() {
    if (!this.rows) return; // while the stage is being built
    const { selected } = this.stage, { world, observations } = this.play;
    if (selected.kind === "agents") this.observer = selected.index;
    const i = Math.min(this.observer || 0, world.agents.length - 1);
    this.find(".observation summary").textContent = `What ${world.agents[i].body.name} observes`;
    const shown = (x, planar) => planar ? (Math.round(100 * x) / 100 || 0).toFixed(2) : String(Math.round(100 * x) / 100);
    const rows = observations[i].map(({ name, planar, rows: values }) =>
      row("td", [name, values.map((each) => each.map((x) => shown(x, planar)).join(planar ? "\u00a0" : " ")).join(" | ")]));
    this.find(".observation tbody").replaceChildren(...rows);
  }

  drawRewards() {
    const { rewards } = this, last = rewards.slice(-this.play.team.episode_steps), shown = rewards.slice(-SHOWN_STEPS);
    const now = rewards.length ? rewards[rewards.length - 1].toFixed(2) : "–";
    this.find(".score").textContent =
      `step ${rewards.length}, reward ${now}, return of the last ${last.length} steps ${sum(last).toFixed(2)}`;
    const least = Math.min(-1, ...shown), most = Math.max(0, ...shown);
    this.find(".curve polyline").setAttribute("points",
      shown.map((reward, x) => `${x},${(30 * (most - reward) / (most - least)).toFixed(1)}`).join(" "));
  }
}

function row(tag, texts) {
  const made = document.createElement("tr");
  for (const text of texts) {
    const cell = document.createElement(tag);
    cell.textContent = text;
    made.append(cell);
  }
  return made;
}

const live = new LivePart(JSON.parse(document.getElementById("live-data").textContent));
if (!window.matchMedia("(prefers-reduced-motion: reduce)").matches) live.start();
