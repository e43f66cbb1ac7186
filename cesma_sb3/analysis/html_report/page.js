"use strict";
const readData = (id) => JSON.parse(by(id).textContent);
const charts = readData("charts-data"), episodes = readData("episodes-data");

function colours() {
  const style = getComputedStyle(root), line = style.getPropertyValue("--line"), ink = style.getPropertyValue("--ink");
  return { "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "font.color": ink,
           "xaxis.gridcolor": line, "yaxis.gridcolor": line, "xaxis.zerolinecolor": line, "yaxis.zerolinecolor": line };
}
root.addEventListener("themed", () => {
  for (const id of Object.keys(charts)) if (by(id).data) Plotly.relayout(by(id), colours());
});

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

if (Object.keys(episodes).length) new Player().show(episodes);
