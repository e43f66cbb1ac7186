"use strict";
// The scenarios of cesma_sb3/envs/particle: what agents observe and what they are rewarded for.
//
// `observe(world, i)` gives the parts of agent i's observation in the order of its layout, { name, kind, size,
// planar, rows }: `rows` are its entities or messages, each of `size` numbers.

const relative = (to, from) => [to.at[0] - from.at[0], to.at[1] - from.at[1]];
const others = (list, i) => list.filter((_, j) => j !== i);
const sum = (numbers) => numbers.reduce((total, each) => total + each, 0);
const ownPart = (name, row) => ({ name, kind: "own", size: row.length, planar: true, rows: [row] });
const planarPart = (name, kind, rows) => ({ name, kind, size: 2, planar: true, rows });
const plainPart = (name, kind, size, rows) => ({ name, kind, size, planar: false, rows });

// The codes of landmarks that are goals: colours up to three, else one entry each.
function goalCodes(nLandmarks, low, high) {
  const n = Math.max(nLandmarks, 3);
  const row = (own) => Array.from({ length: n }, (_, i) => nLandmarks > 3 ? Number(i === own) : i === own ? high : low);
  return Array.from({ length: nLandmarks }, (_, own) => row(own));
}

const toGoal = (world, i) => distance(world.agents[i].at, world.landmarks[world.goals[i]].at);

const particleScenarios = {
  "spread": {
    hasGoal: () => false,
    observe(world, i) {
      const agent = world.agents[i], mates = others(world.agents, i);
      return [
        ownPart("velocity", agent.velocity),
        ownPart("position", agent.at),
        planarPart("landmarks", "entities", world.landmarks.map((each) => relative(each, agent))),
        planarPart("others", "agents", mates.map((each) => relative(each, agent))),
        plainPart("messages", "message", world.messageSize, mates.map(() => world.silence())), // unused, as in mpe2
      ];
    },
    rewards(world, { shared, local_ratio: local }) {
      const nearest = (landmark) => Math.min(...world.agents.map((agent) => distance(agent.at, landmark.at)));
      const uncovered = sum(world.landmarks.map(nearest));
      if (shared) return world.agents.map(() => -uncovered - world.touching().length);
      return world.agents.map((agent) => -(1 - local) * uncovered - local * world.collisions(agent));
    },
  },

  "speaker-listener": {
    hasGoal: (i) => i === 1,
    observe(world, i) {
      const [speaker, listener] = world.agents;
      if (i === 0) return [plainPart("goal", "agents", 3, [goalCodes(3, 0.15, 0.65)[world.goals[1]]])];
      return [
        ownPart("velocity", listener.velocity),
        planarPart("landmarks", "entities", world.landmarks.map((each) => relative(each, listener))),
        plainPart("messages", "message", world.messageSize, [speaker.message]),
      ];
    },
    rewards: (world) => world.agents.map(() => -(toGoal(world, 1) ** 2)),
  },

  "navigation-comm": {
    hasGoal: () => true,
    observe(world, i) {
      const agent = world.agents[i], codes = goalCodes(world.landmarks.length, 0.25, 0.75);
      return [
        ownPart("velocity", agent.velocity),
        planarPart("landmarks", "entities", world.landmarks.map((each) => relative(each, agent))),
        plainPart("goal", "agents", codes[0].length, others(world.goals, i).map((goal) => codes[goal])),
        plainPart("messages", "message", world.messageSize, others(world.agents, i).map((each) => each.message)),
      ];
    },
    rewards(world, { shared, local_ratio: local }) {
      const all = world.agents.map((_, i) => toGoal(world, i)), total = sum(all), n = all.length;
      if (shared) return all.map(() => -total);
      return all.map((own) => -(1 - local) * total / n - local * (total - own) / (n - 1));
    },
  },
};
