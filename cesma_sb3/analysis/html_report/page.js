"use strict";
const readData = (id) => JSON.parse(document.getElementById(id).textContent);
const charts = readData("charts-data"), episodes = readData("episodes-data");
const root = document.documentElement;
const by = (id) => document.getElementById(id);

function colours() {
  const style = getComputedStyle(root), line = style.getPropertyValue("--line"), ink = style.getPropertyValue("--ink");
  return { "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "font.color": ink,
           "xaxis.gridcolor": line, "yaxis.gridcolor": line, "xaxis.zerolinecolor": line, "yaxis.zerolinecolor": line };
}
function theme(name) {
  root.dataset.theme = name;
  for (const id of Object.keys(charts)) if (by(id).data) Plotly.relayout(by(id), colours());
}
const dark = window.matchMedia("(prefers-color-scheme: dark)");
root.dataset.theme = dark.matches ? "dark" : "light";
dark.addEventListener("change", (event) => theme(event.matches ? "dark" : "light"));
by("theme").addEventListener("click", () => theme(root.dataset.theme === "dark" ? "light" : "dark"));

for (const id of Object.keys(charts)) by(id).hidden = false; // before the first is drawn: their widths depend on it
for (const [id, chart] of Object.entries(charts)) {
  const layout = { margin: { l: 60, r: 16, t: 16, b: 58 }, legend: { orientation: "h", y: 1.12 }, ...chart.layout };
  Plotly.newPlot(by(id), chart.data, layout, { responsive: true, displayModeBar: false })
    .then(() => Plotly.relayout(by(id), colours()));
}
for (const button of document.querySelectorAll("#shown-runs button")) button.addEventListener("click", () => {
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(on));
  const mine = charts.curves.data.map((trace, i) => trace.name.startsWith(button.dataset.run + ": ") ? i : -1).filter((i) => i >= 0);
  Plotly.restyle(by("curves"), { visible: on }, mine);
});

const names = Object.keys(episodes);
if (names.length) {
  const first = episodes[names[0]], slider = by("time"), play = by("play"), choice = by("episode");
  first.forEach((_, i) => choice.add(new Option("episode " + (i + 1), i)));
  const watched = root.hasAttribute("data-watched"); // the page plays by itself, one episode after another
  let timer = null, waited = 0;
  const length = () => Math.max(...names.map((name) => episodes[name][choice.value].steps.length));
  function draw() {
    slider.max = length() - 1;
    for (const name of names) {
      const one = episodes[name][choice.value], at = Math.min(Number(slider.value), one.steps.length - 1);
      const figure = document.querySelector(`figure[data-policy="${name}"]`), over = at === one.steps.length - 1;
      const image = figure.querySelector("img");
      image.hidden = one.frames.length === 0;
      if (!image.hidden) image.src = one.frames[at];
      figure.querySelector(".status").textContent =
        `step ${one.steps[at]}, return ${one.returns[at].toFixed(2)}` + (over && one.won !== null ? (one.won ? ", won" : ", lost") : "");
    }
  }
  function stop() { clearInterval(timer); timer = null; play.textContent = "Play"; }
  function step() {
    if (Number(slider.value) >= length() - 1) {
      if (!watched || timer === null) { stop(); return; }
      if (++waited < 10) return;
      waited = 0;
      choice.selectedIndex = (choice.selectedIndex + 1) % first.length;
      slider.value = 0;
      draw();
      return;
    }
    slider.value = Number(slider.value) + 1;
    draw();
  }
  function start() {
    if (Number(slider.value) >= length() - 1) slider.value = 0;
    timer = setInterval(step, Number(by("speed").value));
    play.textContent = "Pause";
  }
  play.addEventListener("click", () => timer === null ? start() : stop());
  by("step").addEventListener("click", () => { stop(); step(); });
  by("speed").addEventListener("change", () => { if (timer !== null) { stop(); start(); } });
  slider.addEventListener("input", () => { stop(); draw(); });
  choice.addEventListener("change", () => { stop(); slider.value = 0; draw(); });
  for (const button of document.querySelectorAll(".who")) button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    document.querySelector(`figure[data-policy="${button.dataset.policy}"]`).hidden = !on;
  });
  draw();
  if (watched && !window.matchMedia("(prefers-reduced-motion: reduce)").matches) start();
}
