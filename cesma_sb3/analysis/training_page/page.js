"use strict";
// Asks how far the run is, once a second, and draws it.

const title = document.title, player = new Player(), WIDTH = 400, HEIGHT = 200, LEFT = 44, BOTTOM = 24;
const whole = (x) => Math.round(x).toLocaleString("en");
const made = (parent, tag, attributes = {}, text = "") => {
  const isDrawn = !["section", "h2", "p"].includes(tag);
  const element = isDrawn ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  parent.append(element);
  return element;
};

// The returns of a stage against its samples; of students who learn before they act, against their updates.
function chart(parent, name, { returns }, best) {
  const byUpdates = returns.every(([samples]) => samples === 0), xs = returns.map((each) => each[byUpdates ? 1 : 0] || 0);
  const ys = returns.map((each) => each[2]), shown = best === null ? ys : [...ys, best];
  const low = Math.min(...shown), high = Math.max(...shown), span = high - low || 1, far = Math.max(...xs) || 1;
  const x = (value) => LEFT + (WIDTH - LEFT - 8) * value / far, y = (value) => 8 + (HEIGHT - BOTTOM - 16) * (high - value) / span;
  const svg = made(parent, "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
    "aria-label": `Returns of ${name}: ${ys[0].toFixed(2)} at first, ${ys[ys.length - 1].toFixed(2)} now` });
  for (const value of [low, high]) {
    made(svg, "line", { x1: LEFT, x2: WIDTH - 8, y1: y(value), y2: y(value) });
    made(svg, "text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(1));
  }
  if (best !== null) made(svg, "line", { class: "expert", x1: LEFT, x2: WIDTH - 8, y1: y(best), y2: y(best) });
  made(svg, "polyline", { points: xs.map((value, i) => `${x(value)},${y(ys[i])}`).join(" ") });
  xs.forEach((value, i) => made(svg, "circle", { cx: x(value), cy: y(ys[i]), r: 3 }));
  made(svg, "text", { x: LEFT, y: HEIGHT - 4 }, "0");
  made(svg, "text", { x: WIDTH - 8, y: HEIGHT - 4, "text-anchor": "end" }, `${whole(far)} ${byUpdates ? "updates" : "samples"}`);
}

function draw({ run_dir: folder, status, ended, stages, missing }) {
  document.title = `${title}: ${status || "starting"}`;
  by("status").textContent = ended ? `The run has ended${status && ": " + status}.` : Object.keys(stages).length ? "Training." : "Starting.";
  by("folder").textContent = ended && status === "finished" ? `cesma watch ${folder} shows the team at work.` : folder;
  by("missing").textContent = missing && `The team is not shown: ${missing}.`;
  by("stages").replaceChildren();
  let best = null; // of the expert, for the students' chart
  for (const [name, stage] of Object.entries(stages)) {
    const part = made(by("stages"), "section");
    made(part, "h2", {}, name);
    const told = [];
    if (stage.samples || !stage.updates) told.push(`${whole(stage.samples)} samples`);
    if (stage.updates) told.push(`${whole(stage.updates)} updates`);
    if (stage.rate && stage.samples) told.push(`${whole(stage.rate)} samples a second`);
    if (stage.returns.length) told.push(`return ${stage.returns[stage.returns.length - 1][2].toFixed(2)}`);
    made(part, "p", { class: "soft" }, told.join(", ") + (best !== null ? `; dashed: the expert's best, ${best.toFixed(2)}` : ""));
    if (stage.returns.length) chart(part, name, stage, best);
    if (name === "expert" && stage.returns.length) best = Math.max(...stage.returns.map((each) => each[2]));
  }
}

let shown = 0; // the number of the recording that plays, or will next
async function look() {
  try {
    const state = await (await fetch(`state?shown=${shown}`)).json();
    draw(state);
    if (state.episodes) {
      by("at-work").hidden = false;
      player.show(state.episodes);
    }
    shown = state.recorded;
    if (state.ended) return;
  } catch {
    by("status").textContent = "The run has ended.";
    return;
  }
  setTimeout(look, 1000);
}
look();
