"use strict";
// The physics of cesma_sb3/envs/particle/world.py, of one environment, in double precision. Both are held equal by a test.
//
// An agent is { body, at: [x, y], velocity: [x, y], message: [C numbers] }, a landmark { body, at }; `body` is the
// Body of the Python world.
const TIME_STEP = 0.1, DAMPING = 0.25, CONTACT_FORCE = 100, CONTACT_MARGIN = 1e-3, TINY = 1e-100;

const distance = (one, other) => Math.hypot(one[0] - other[0], one[1] - other[1]);

class ParticleWorld {
  constructor(agents, landmarks, messageSize) {
    this.messageSize = messageSize;
    this.agents = [];
    this.landmarks = [];
    this.goals = null; // the landmark of each agent, -1 for none; null where no agent has its own
    for (const body of agents) this.addAgent(body, [0, 0]);
    for (const body of landmarks) this.addLandmark(body, [0, 0]);
  }

  addAgent(body, at) {
    this.agents.push({ body, at: [...at], velocity: [0, 0], message: this.silence() });
  }

  addLandmark(body, at) {
    this.landmarks.push({ body, at: [...at] });
  }

  silence() {
    return new Array(this.messageSize).fill(0);
  }

  // Everything somewhere, at rest and without messages; `place(kind, index)` gives [x, y].
  placeAll(place) {
    for (const agent of this.agents) Object.assign(agent, { at: place(), velocity: [0, 0], message: this.silence() });
    for (const landmark of this.landmarks) landmark.at = place();
  }

  // Pairs of bodies that can collide, of which the first is an agent.
  pairs() {
    const bodies = [...this.agents, ...this.landmarks].filter((each) => each.body.collide);
    const found = [];
    bodies.forEach((first, a) => {
      if (first.velocity) for (const second of bodies.slice(a + 1)) found.push([first, second]);
    });
    return found;
  }

  touching() {
    return this.pairs().filter(([one, other]) => distance(one.at, other.at) < one.body.size + other.body.size);
  }

  // The number of bodies that an agent overlaps.
  collisions(agent) {
    return this.touching().filter((pair) => pair.includes(agent)).length;
  }

  // pushes: the agents' own forces, [x, y] each; messages: what each sends, or null where none can.
  step(pushes, messages) {
    const forces = new Map(this.agents.map((agent, i) => [agent, [...pushes[i]]]));
    for (const [one, other] of this.pairs()) this.pushApart(one, other, forces);
    for (const [agent, force] of forces) {
      const { body, at, velocity } = agent, response = body.movable ? TIME_STEP / body.mass : 0;
      for (const axis of [0, 1]) {
        at[axis] += velocity[axis] * TIME_STEP;
        velocity[axis] = velocity[axis] * (1 - DAMPING) + force[axis] * response;
      }
      if (body.max_speed !== null) {
        const slower = Math.min(1, body.max_speed / Math.max(Math.hypot(...velocity), TINY));
        for (const axis of [0, 1]) velocity[axis] *= slower;
      }
    }
    if (messages) this.agents.forEach((agent, i) => { agent.message = [...messages[i]]; });
  }

  // A soft wall around each body: its force grows with log(1 + exp(depth)).
  pushApart(one, other, forces) {
    const apart = distance(one.at, other.at), depth = (one.body.size + other.body.size - apart) / CONTACT_MARGIN;
    const wall = Math.max(depth, 0) + Math.log1p(Math.exp(-Math.abs(depth)));
    const strength = wall * CONTACT_FORCE * CONTACT_MARGIN / Math.max(apart, TINY);
    for (const axis of [0, 1]) {
      const force = (one.at[axis] - other.at[axis]) * strength;
      forces.get(one)[axis] += force;
      if (forces.has(other)) forces.get(other)[axis] -= force;
    }
  }
}
