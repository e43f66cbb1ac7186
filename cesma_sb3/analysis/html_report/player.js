"use strict";
// Plays recorded episodes, each policy in a figure of its own, from the same initial states. A page that is watched plays by itself,
// one episode after another.

const PAUSE = 10; // steps for which the end of an episode stays, before the next one begins

class Player {
  constructor() {
    Object.assign(this, { episodes: {}, next: null, timer: null, waited: 0 });
    this.isWatched = root.hasAttribute("data-watched");
    this.slider = by("time");
    this.choice = by("episode");
    by("play").addEventListener("click", () => this.timer === null ? this.start() : this.stop());
    by("step").addEventListener("click", () => { this.stop(); this.step(); });
    by("speed").addEventListener("change", () => { if (this.timer !== null) { this.stop(); this.start(); } });
    this.slider.addEventListener("input", () => { this.stop(); this.draw(); });
    this.choice.addEventListener("change", () => { this.stop(); this.slider.value = 0; this.draw(); });
    for (const button of document.querySelectorAll(".who")) button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      this.showFigures();
    });
  }

  // Shows episodes, by policy; those that are at play, or were stopped, first come to their end.
  show(episodes) {
    const isFirst = !Object.keys(this.episodes).length;
    this.next = episodes;
    if (isFirst || this.timer === null && (this.isOver() || this.slider.value === "0")) this.take();
    if (isFirst && this.isWatched && !window.matchMedia("(prefers-reduced-motion: reduce)").matches) this.start();
  }

  take() {
    [this.episodes, this.next] = [this.next, null];
    const [first] = Object.values(this.episodes), chosen = this.choice.selectedIndex;
    this.choice.replaceChildren(...first.map((_, i) => new Option("episode " + (i + 1), i)));
    this.choice.selectedIndex = Math.max(0, Math.min(chosen, first.length - 1));
    this.choice.hidden = first.length < 2;
    this.slider.value = 0;
    this.showFigures();
    this.draw();
  }

  figure(name) { return document.querySelector(`figure[data-policy="${name}"]`); }

  showFigures() {
    for (const button of document.querySelectorAll(".who")) {
      const { policy } = button.dataset;
      button.hidden = !(policy in this.episodes);
      this.figure(policy).hidden = button.hidden || button.getAttribute("aria-pressed") !== "true";
    }
  }

  length() { return Math.max(...Object.values(this.episodes).map((each) => each[this.choice.value].steps.length)); }

  isOver() { return Number(this.slider.value) >= this.length() - 1; }

  draw() {
    this.slider.max = this.length() - 1;
    for (const [name, each] of Object.entries(this.episodes)) {
      const one = each[this.choice.value], at = Math.min(Number(this.slider.value), one.steps.length - 1);
      const figure = this.figure(name), over = at === one.steps.length - 1, image = figure.querySelector("img");
      image.hidden = one.frames.length === 0;
      if (!image.hidden) image.src = one.frames[at];
      figure.querySelector(".status").textContent = (one.after ? `after ${one.after}: ` : "") +
        `step ${one.steps[at]}, return ${one.returns[at].toFixed(2)}` + (over && one.won !== null ? (one.won ? ", won" : ", lost") : "");
    }
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    by("play").textContent = "Play";
  }

  start() {
    if (this.isOver()) this.begin(this.choice.selectedIndex);
    this.timer = setInterval(() => this.step(), Number(by("speed").value));
    by("play").textContent = "Pause";
  }

  step() {
    if (!this.isOver()) {
      this.slider.value = Number(this.slider.value) + 1;
      this.draw();
    } else if (!this.isWatched || this.timer === null) {
      this.stop();
    } else if (++this.waited >= PAUSE) {
      this.waited = 0;
      this.begin((this.choice.selectedIndex + 1) % this.choice.length);
    }
  }

  // The beginning of an episode: of the newest ones.
  begin(index) {
    if (this.next) this.take();
    this.choice.selectedIndex = Math.min(index, this.choice.length - 1);
    this.slider.value = 0;
    this.draw();
  }
}
