// Time spent on an image: counted while the page is visible and the person is at work.

const IDLE = 30_000; // ms without a key or a move, after which nobody is taken to be there

export class Clock {
  #total = 0;
  #mark = 0;
  #active = 0;

  constructor(now = () => performance.now(), visible = () => document.visibilityState === "visible") {
    this.now = now;
    this.visible = visible;
    this.wasVisible = visible();
  }

  start(seconds = 0) {
    this.#total = seconds * 1000;
    this.#mark = this.#active = this.now();
  }

  // Count what has passed; to be called on every event, before and after the page is hidden.
  #count() {
    const now = this.now();
    if (this.wasVisible) this.#total += Math.max(0, Math.min(now, this.#active + IDLE) - this.#mark);
    this.#mark = now;
    this.wasVisible = this.visible();
  }

  active() {
    this.#count();
    this.#active = this.now();
  }

  changed() {
    this.#count();
    if (this.wasVisible) this.#active = this.now();
  }

  get seconds() {
    this.#count();
    return this.#total / 1000;
  }
}

export function listen(clock) {
  for (const kind of ["keydown", "pointerdown", "pointermove", "wheel"]) {
    addEventListener(kind, () => clock.active(), { capture: true, passive: true });
  }
  document.addEventListener("visibilitychange", () => clock.changed());
}
