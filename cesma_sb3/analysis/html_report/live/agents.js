"use strict";
// Agents that decide by their own networks, as cesma_sb3/policies computes them from the same float32 weights.
// Feed-forward networks and networks over entities (cesma_sb3/policies/networks/entities.py).

const MOVES = ["nothing", "left", "right", "down", "up"];
const DIRECTIONS = [[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]];

const activations = {
  ReLU: (x) => Math.max(x, 0),
  LeakyReLU: (x) => x > 0 ? x : 0.01 * x,
  ELU: (x) => x > 0 ? x : Math.expm1(x),
  Tanh: Math.tanh,
  Sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  SiLU: (x) => x / (1 + Math.exp(-x)),
};

const plus = (one, other) => one.map((x, i) => x + other[i]);
const greatest = (rows) => rows.reduce((most, row) => most.map((x, i) => Math.max(x, row[i])));
const oneHot = (i, n) => Array.from({ length: n }, (_, j) => Number(i === j));
const argmax = (numbers) => numbers.indexOf(Math.max(...numbers));

function softmax(numbers) {
  const most = Math.max(...numbers), raised = numbers.map((x) => Math.exp(x - most)), total = sum(raised);
  return raised.map((x) => x / total);
}

// The arrays that a page holds as base64 of float32, little-endian.
function readTensor({ shape, data }) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)), view = new DataView(bytes.buffer);
  const values = Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  return { shape, values };
}

class AgentNetwork {
  // network: { kind, activation, weights: { PyTorch's name: number of the tensor } }, and of `entities`: groups,
  // teammates, use_agent_id, n_agents, n_neighbours.
  constructor(network, tensors) {
    Object.assign(this, network);
    this.activate = activations[network.activation];
    this.tensors = tensors;
  }

  // parts: what the agent observes (scenarios.js); index: its number in the team. Returns logits or means.
  outputs(parts, index) {
    // An observation is float32 before a network reads it.
    const read = parts.map((part) => ({ ...part, rows: part.rows.map((row) => row.map(Math.fround)) }));
    if (this.kind === "entities") return this.entities(read, index);
    return this.sequence("", read.flatMap((part) => part.rows.flat()));
  }

  // Whether observations with these parts are of the shapes that the weights are for, however many entities there are.
  fits(parts) {
    if (this.kind !== "entities" || this.use_agent_id) return false;
    const width = (name) => this.tensors[this.weights[`encode.${name}.weight`]].shape[1];
    return parts.every(({ name, size, rows }) => !this.groups.includes(name) || rows.length > 0 && size === width(name));
  }

  linear(name, input) {
    const { shape: [n, width], values } = this.tensors[this.weights[`${name}.weight`]];
    const bias = this.weights[`${name}.bias`], output = new Array(n);
    for (let row = 0; row < n; row++) {
      let total = bias === undefined ? 0 : this.tensors[bias].values[row];
      for (let i = 0; i < width; i++) total += values[row * width + i] * input[i];
      output[row] = total;
    }
    return output;
  }

  // Linear layers 0, 2, 4 and so on, with activations between them.
  sequence(prefix, input) {
    let values = this.linear(`${prefix}0`, input);
    for (let layer = 2; `${prefix}${layer}.weight` in this.weights; layer += 2)
      values = this.linear(`${prefix}${layer}`, values.map(this.activate));
    return values;
  }

  entities(parts, index) {
    const own = parts.filter((part) => part.kind === "own").flatMap((part) => part.rows.flat());
    if (this.use_agent_id) own.push(...oneHot(index, this.n_agents));
    const groups = Object.fromEntries(this.groups.map((name) =>
      [name, this.seen(parts.find((part) => part.name === name), index)]));
    const encoded = this.linear("encode_own", own), width = encoded.length / (1 + this.groups.length);
    const context = (n) => encoded.slice(n * width, (n + 1) * width);
    const summaries = this.groups.map((name, n) =>
      greatest(this.inside(name, groups, context(n + 1))));
    return this.sequence("head.", [...context(0).map(this.activate), ...summaries.flat()]);
  }

  // What the network makes of each entity of a group, given the agent's own features and the other groups.
  inside(name, groups, context) {
    const relations = this.groups.filter((other) => other !== name).map((other) => {
      const relation = `relate.${name}>${other}`;
      const most = greatest(groups[other].map((entity) => this.linear(`${relation}.1`, entity)));
      return (entity) => this.linear(`${relation}.2`, plus(this.linear(`${relation}.0`, entity), most).map(this.activate));
    });
    return groups[name].map((entity) => {
      const alone = plus(this.linear(`encode.${name}`, entity), context);
      const related = relations.reduce((total, relation) => plus(total, relation(entity)), alone);
      return this.linear(`combine.${name}`, related.map(this.activate)).map(this.activate);
    });
  }

  // The entities of a group that the network sees: all or the nearest, other agents with their one-hot numbers.
  seen(part, index) {
    const length = (row) => row[0] ** 2 + row[1] ** 2;
    const mates = others([...Array(this.n_agents).keys()], index);
    let rows = part.rows;
    if (part.name === this.teammates && this.use_agent_id)
      rows = rows.map((row, j) => [...row, ...oneHot(mates[j], this.n_agents)]);
    if (part.planar && this.n_neighbours !== null && rows.length > this.n_neighbours)
      rows = [...rows].sort((one, other) => length(one) - length(other)).slice(0, this.n_neighbours);
    return rows;
  }
}

// A team that plays one episode without end: the world, and what each agent decides in its present state.
class TeamAtPlay {
  // team: what cesma_sb3/analysis/html_report/live writes into the page; random: uniform in [0, 1).
  constructor(team, random = Math.random) {
    this.team = team;
    this.random = random;
    this.scenario = particleScenarios[team.scenario];
    const tensors = team.tensors.map(readTensor);
    this.networks = team.networks.map((network) => new AgentNetwork(network, tensors));
    this.world = new ParticleWorld(team.agents, team.landmarks, team.message_size);
    this.reset();
  }

  // A new episode: everything anywhere in [-1, 1], and new goals.
  reset() {
    const { world, scenario } = this, anywhere = () => [2 * this.random() - 1, 2 * this.random() - 1];
    world.placeAll(anywhere);
    const drawn = world.agents.map((_, i) => scenario.hasGoal(i) ? Math.floor(this.random() * world.landmarks.length) : -1);
    world.goals = drawn.some((goal) => goal >= 0) ? drawn : null;
    this.decide();
  }

  networkOf(i) {
    return this.networks[this.team.network_of[i % this.team.network_of.length]];
  }

  // `observations` and `decisions` of all agents in the present state; called whenever it changed.
  decide() {
    const { world, scenario } = this;
    this.observations = world.agents.map((_, i) => scenario.observe(world, i));
    this.decisions = world.agents.map((agent, i) =>
      this.decision(agent.body, this.networkOf(i).outputs(this.observations[i], i), i));
  }

  // { outputs, push: [x, y], move, confidence, message, symbol }; move and symbol are null of an agent without.
  decision(body, outputs, i) {
    const nMoves = body.movable ? MOVES.length : 0, moves = outputs.slice(0, nMoves), says = outputs.slice(nMoves);
    const decided = { outputs, push: [0, 0], move: null, confidence: null, message: this.world.silence(), symbol: null };
    const draws = !this.team.acts_deterministically; // moves alone: messages are never drawn
    if (this.team.continuous) {
      const { spread } = this.team, ofAgent = spread[i % spread.length];
      const drawn = draws ? moves.map((mean, column) => mean + ofAgent[column] * this.normal()) : moves;
      const amounts = [...drawn, ...says].map((x) => Math.min(Math.max(x, 0), 1));
      if (nMoves) decided.push = [amounts[2] - amounts[1], amounts[4] - amounts[3]];
      if (!body.silent) decided.message = amounts.slice(nMoves);
    } else {
      const chances = softmax(moves), choice = draws && nMoves ? this.draw(chances) : argmax(moves);
      if (nMoves) Object.assign(decided, { move: choice, confidence: chances[choice], push: [...DIRECTIONS[choice]] });
      if (!body.silent) decided.message = oneHot(argmax(says), this.team.message_size);
    }
    decided.push = decided.push.map((x) => x * body.accel);
    if (!body.silent) decided.symbol = argmax(decided.message);
    return decided;
  }

  draw(chances) {
    let left = this.random();
    const found = chances.findIndex((chance) => (left -= chance) < 0);
    return found < 0 ? argmax(chances) : found;
  }

  normal() {
    return Math.sqrt(-2 * Math.log(1 - this.random())) * Math.cos(2 * Math.PI * this.random());
  }

  talks() {
    return this.world.agents.some((agent) => !agent.body.silent);
  }

  // One step by the agents' decisions; returns the team's reward. received: what is heard in place of what they say.
  step(received = null) {
    const { world, scenario, team } = this;
    const messages = received || this.decisions.map((each) => each.message);
    world.step(this.decisions.map((each) => each.push), this.talks() ? messages : null);
    const rewards = scenario.rewards(world, team.reward);
    this.decide();
    if (team.team_reward === "shared") return rewards[0];
    return team.team_reward === "sum" ? sum(rewards) : sum(rewards) / rewards.length;
  }

  // Whether the networks can serve a team of so many.
  canHave(nAgents, nLandmarks) {
    const { agents, landmarks, message_size: size } = this.team;
    if (agents.length < 2 || nAgents < 2 || nAgents > 12 || nLandmarks < 1 || nLandmarks > 12) return false;
    const cycle = (list, n) => Array.from({ length: n }, (_, i) => list[i % list.length]);
    const world = new ParticleWorld(cycle(agents, nAgents), cycle(landmarks, nLandmarks), size);
    world.goals = world.agents.map(() => 0);
    return world.agents.every((_, i) => this.networkOf(i).fits(this.scenario.observe(world, i)));
  }

  // kind: "agents" or "landmarks".
  add(kind) {
    const { world, team } = this, at = [1.6 * this.random() - 0.8, 1.6 * this.random() - 0.8];
    const bodies = team[kind], n = world[kind].length;
    const body = { ...bodies[n % bodies.length], name: `${kind.slice(0, -1)}_${n}` };
    if (kind === "landmarks") world.addLandmark(body, at);
    else {
      world.addAgent(body, at);
      if (world.goals) world.goals.push(0);
    }
    this.decide();
  }

  // Takes the last one away.
  remove(kind) {
    const { world } = this;
    world[kind].pop();
    if (world.goals) world.goals = world.agents.map((_, i) => Math.min(world.goals[i], world.landmarks.length - 1));
    this.decide();
  }
}
