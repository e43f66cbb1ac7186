"use strict";
// Light or dark, as the system prefers until the button is pressed. The root element tells of a change by the event `themed`.

const root = document.documentElement;
const by = (id) => document.getElementById(id);

function theme(name) {
  root.dataset.theme = name;
  root.dispatchEvent(new Event("themed"));
}
const dark = window.matchMedia("(prefers-color-scheme: dark)");
theme(dark.matches ? "dark" : "light");
dark.addEventListener("change", (event) => theme(event.matches ? "dark" : "light"));
by("theme").addEventListener("click", () => theme(root.dataset.theme === "dark" ? "light" : "dark"));
