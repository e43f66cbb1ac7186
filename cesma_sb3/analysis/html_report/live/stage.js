"use strict";
// The picture of a world that plays, as SVG: bodies can be dragged, focused, and moved by keys.

const SVG = "http://www.w3.org/2000/svg";
const REACH = 0.12; // radius of what a finger hits, at least
const letter = (index) => String.fromCharCode(65 + index);

function svg(parent, tag, attributes = {}) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  return made;
}

class Stage {
  // chosen(): another body is `selected`; moved(): it was moved, by pointer or keys.
  constructor(root, play, { chosen, moved }) {
    Object.assign(this, { root, play, chosen, moved });
    this.selected = { kind: "agents", index: 0 };
    this.held = null;
    this.half = play.team.view;
    svg(root, "rect", { class: "floor", x: -1, y: -1, width: 2, height: 2, rx: 0.03 });
    this.layer = svg(root, "g");
    this.build();
    root.addEventListener("pointerdown", (event) => this.take(event));
    // Of the window, for a pointer may leave the picture and come back.
    window.addEventListener("pointermove", (event) => { if (this.held) this.dragTo(this.point(event)); });
    for (const end of ["pointerup", "pointercancel"]) window.addEventListener(end, () => this.release());
  }

  // The elements of all bodies: again whenever one was added or taken away.
  build() {
    this.layer.replaceChildren();
    this.elements = {};
    for (const kind of ["landmarks", "agents"])
      this.elements[kind] = this.play.world[kind].map(({ body }, index) => this.buildOne(kind, index, body));
    // Once more, as rings, so that a landmark is seen under the agent that covers it.
    this.rings = this.play.world.landmarks.map(({ body }, index) => {
      const ring = svg(this.layer, "g", { class: "mark", "aria-hidden": "true" });
      svg(ring, "circle", { r: body.size });
      svg(ring, "text", { x: body.size + 0.045, y: 0.03 }).textContent = letter(index);
      return ring;
    });
    const { kind, index } = this.selected;
    this.select(kind, Math.min(index, this.play.world[kind].length - 1));
  }

  buildOne(kind, index, body) {
    const isAgent = kind === "agents", name = isAgent ? `agent ${index}, ${body.name}` : `landmark ${letter(index)}`;
    const group = svg(this.layer, "g", { class: kind, tabindex: 0, role: "button", "aria-label": name });
    svg(group, "circle", { class: "ring", r: body.size + 0.035 });
    svg(group, "circle", { class: "hit", r: Math.max(body.size, REACH) });
    if (isAgent) svg(group, "line", { class: "push", "stroke-width": 0.03 });
    svg(group, "circle", { class: "disk", r: body.size });
    if (isAgent) svg(group, "text", { y: 0.035 }).textContent = index;
    if (isAgent && !body.silent) svg(group, "text", { class: "says", y: -body.size - 0.05 });
    group.addEventListener("focus", () => this.select(kind, index));
    return group;
  }

  draw() {
    const { world, team, decisions } = this.play, { colors } = team;
    this.look();
    const touching = new Set(world.touching().flat());
    const place = (element, at) => { element.style.transform = `translate(${at[0]}px, ${-at[1]}px)`; };
    world.landmarks.forEach((landmark, i) => {
      const element = this.elements.landmarks[i];
      place(element, landmark.at);
      place(this.rings[i], landmark.at);
      element.querySelector(".disk").style.fill = world.goals ? colors.agents[i % colors.agents.length] : colors.landmark;
    });
    world.agents.forEach((agent, i) => {
      const element = this.elements.agents[i], [x, y] = decisions[i].push, force = Math.hypot(x, y);
      place(element, agent.at);
      const [disk, push, says] = [".disk", ".push", ".says"].map((part) => element.querySelector(part));
      disk.style.fill = this.colorOf(i);
      disk.classList.toggle("touching", touching.has(agent));
      disk.style.stroke = touching.has(agent) ? colors.touching : "";
      const long = force > 0 ? (agent.body.size + 0.09) / force : 0;
      push.setAttribute("x2", x * long);
      push.setAttribute("y2", -y * long);
      push.style.stroke = this.colorOf(i);
      if (says) says.textContent = `“${decisions[i].symbol}”`;
    });
  }

  // As in rendered frames: an agent with a goal of its own has the goal's colour.
  colorOf(i) {
    const { world, team: { colors } } = this.play, goal = world.goals ? world.goals[i] : i;
    return goal < 0 ? colors.landmark : colors.agents[goal % colors.agents.length];
  }

  // The camera stands still and only moves back when somebody leaves the picture.
  look() {
    const { world, team } = this.play, bodies = [...world.agents, ...world.landmarks];
    const reach = Math.max(...bodies.map(({ at, body }) => Math.max(Math.abs(at[0]), Math.abs(at[1])) + body.size));
    if (!this.held) this.half = Math.max(team.view, 1.05 * reach);
    this.root.setAttribute("viewBox", [-this.half, -this.half, 2 * this.half, 2 * this.half].join(" "));
  }

  select(kind, index) {
    this.selected = { kind, index };
    for (const [other, elements] of Object.entries(this.elements)) elements.forEach((element, i) => {
      element.classList.toggle("selected", other === kind && i === index);
    });
    this.chosen();
  }

  body() {
    return this.play.world[this.selected.kind][this.selected.index];
  }

  point(event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.root.getScreenCTM().inverse());
    return [x, -y];
  }

  // The nearest body in reach; a landmark in the middle of the agent that stands on it comes first.
  take(event) {
    const at = this.point(event);
    let best = null;
    for (const kind of ["landmarks", "agents"]) this.play.world[kind].forEach((each, index) => {
      const away = distance(each.at, at), size = each.body.size;
      const near = kind === "landmarks" && away < 0.07 ? 0 : away / Math.max(size, 0.08);
      if (away < Math.max(size, REACH) && (!best || near < best.near)) best = { kind, index, near, each };
    });
    if (!best || event.button > 0) return;
    event.preventDefault();
    this.elements[best.kind][best.index].focus({ preventScroll: true });
    this.held = { each: best.each, shift: [best.each.at[0] - at[0], best.each.at[1] - at[1]] };
    this.root.classList.add("holding");
    this.select(best.kind, best.index);
  }

  release() {
    this.held = null;
    this.root.classList.remove("holding");
  }

  dragTo(at) {
    this.put(this.held.each, [at[0] + this.held.shift[0], at[1] + this.held.shift[1]]);
    this.held.at = [...this.held.each.at];
  }

  // What is held stays where it is held, whatever pushes it.
  keepHeld() {
    if (this.held && this.held.at) this.put(this.held.each, this.held.at);
  }

  // Puts a body somewhere in the picture, at rest.
  put(each, at) {
    const edge = this.half - 0.05;
    each.at = at.map((x) => Math.min(Math.max(x, -edge), edge));
    if (each.velocity) each.velocity = [0, 0];
    this.play.decide();
    this.moved();
  }

  // Arrow keys move what is selected. Whether it was one.
  moveByKey(key, isFar) {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
    if (!(key in arrows)) return false;
    const step = isFar ? 0.2 : 0.05, each = this.body();
    this.put(each, each.at.map((x, axis) => x + step * arrows[key][axis]));
    return true;
  }

  // A number selects an agent, a letter a landmark. Whether there is one of that name.
  selectByKey(key) {
    if (key.length !== 1) return false;
    const isNumber = /[0-9]/.test(key), index = isNumber ? Number(key) : key.toUpperCase().charCodeAt(0) - 65;
    const kind = isNumber ? "agents" : "landmarks", element = this.elements[kind][index];
    if (!element) return false;
    element.focus({ preventScroll: true });
    this.select(kind, index); // a window without the focus tells nobody of it
    return true;
  }
}
