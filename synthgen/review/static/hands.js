// The tools: what a pointer, or the keyboard's cursor, does to a scene.

export const TOOLS = [
  ["select", "v", "Select"], ["brush", "b", "Brush"], ["eraser", "x", "Eraser"], ["polygon", "p", "Polygon"], ["box", "o", "Box"],
];

export class Hands {
  // told(): something changed that the page shows beside the picture.
  constructor(view, told) {
    this.view = view;
    this.told = told;
    this.tool = "select";
    this.size = 6; // of the brush, px of the image
    this.class = 0;
    this.#listen();
  }

  open(scene) {
    this.scene = scene;
    this.down = null; // last point of a stroke that goes on
    this.points = []; // corners of a polygon or box that is not finished
    this.use(scene.ids || scene.boxes ? this.tool : "select");
  }

  get tools() {
    if (!this.scene) return [];
    return this.scene.ids ? TOOLS.map(([name]) => name) : this.scene.boxes ? ["select", "box"] : [];
  }

  use(tool) {
    if (this.scene && !this.tools.includes(tool)) tool = "select";
    this.stop();
    this.tool = tool;
    this.#show();
  }

  resize(size) {
    this.size = Math.max(1, Math.min(64, size));
    this.#show();
  }

  // End what is going on; whether there was something.
  stop() {
    const busy = this.down !== null || this.points.length > 0;
    if (this.down) this.scene.end();
    this.down = null;
    this.points = [];
    if (busy) this.#show();
    return busy;
  }

  #show() {
    const { view } = this;
    view.radius = this.tool === "brush" || this.tool === "eraser" ? Math.max(0.5, this.size / 2) : 0;
    const hand = view.cursor ?? view.pointer;
    let points = [...this.points];
    if (points.length && hand) points = this.tool === "box" ? corners(points[0], hand) : [...points, hand];
    view.draft = points.length ? { points, closed: this.tool === "box" } : null;
    view.redraw();
    this.told();
  }

  // A press of the button or of Space at a point of the image.
  press(at) {
    const { scene } = this;
    if (this.tool === "select") scene.selected = scene.at(...at);
    else if (this.tool === "polygon") this.points.push(at);
    else if (this.tool === "box") {
      if (this.points.length) return this.finish(at);
      this.points = [at];
    } else this.#start(at);
    return this.#show();
  }

  #start(at) {
    const { scene } = this;
    scene.begin();
    if (this.tool === "brush" && scene.selected < 0) scene.add(this.class);
    this.down = at;
    this.#stroke(at, at);
  }

  #stroke(a, b) {
    const { scene } = this, id = scene.selected + 1;
    scene.stroke(a, b, Math.max(0.5, this.size / 2), this.tool === "brush" ? id : 0, id);
  }

  move(at) {
    if (this.down) {
      this.#stroke(this.down, at);
      this.down = at;
    }
    this.#show();
  }

  lift() {
    if (this.down) {
      this.down = null;
      this.scene.end();
    }
    this.#show();
  }

  // Close the polygon, or the box at its other corner; whether there was one.
  finish(at = null) {
    const { scene, points } = this;
    this.points = [];
    const outline = this.tool === "box" && at && points.length ? corners(points[0], at) : points;
    if (outline.length < 3) {
      this.#show();
      return points.length > 0;
    }
    const xs = outline.map((p) => p[0]), ys = outline.map((p) => p[1]), within = (v, most) => Math.max(0, Math.min(most, v));
    const box = [within(Math.min(...xs), scene.width), within(Math.min(...ys), scene.height),
      within(Math.max(...xs), scene.width), within(Math.max(...ys), scene.height)];
    if (scene.boxes) {
      const whole = box.map(Math.round);
      if (whole[0] < whole[2] && whole[1] < whole[3]) {
        scene.begin();
        scene.add(this.class, whole);
        scene.end();
      }
    } else {
      scene.begin();
      const id = scene.add(this.class) + 1;
      scene.polygon(outline, id);
      scene.end();
    }
    this.#show();
    return true;
  }

  // The keyboard's cursor, in the middle of a pixel.
  cursor(dx, dy) {
    const { view, scene } = this, [x, y] = view.cursor ?? view.pointer ?? [scene.width / 2, scene.height / 2];
    const inside = (v, most) => Math.max(0, Math.min(most - 1, Math.floor(v))) + 0.5;
    view.cursor = [inside(x + dx, scene.width), inside(y + dy, scene.height)];
    view.follow(view.cursor);
    this.move(view.cursor);
  }

  // Space: press, and for a stroke the second time lift.
  space() {
    const { view } = this;
    if (!view.cursor) this.cursor(0, 0);
    if (this.down) this.lift();
    else this.press(this.tool === "polygon" || this.tool === "box" ? snapped(view.cursor, this.scene) : view.cursor);
  }

  #listen() {
    const { canvas } = this.view;
    let panning = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.scene) return;
      canvas.setPointerCapture(event.pointerId);
      this.view.cursor = null;
      const { on, at } = this.view.place(event);
      if (event.button === 1 || event.shiftKey) panning = on;
      else if (event.button === 0) {
        this.press(at);
        this.dragged = this.tool === "box" && this.points.length ? on : null;
      }
      event.preventDefault();
      canvas.focus({ preventScroll: true });
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.scene) return;
      const { on, at } = this.view.place(event);
      if (panning) {
        this.view.pan(on[0] - panning[0], on[1] - panning[1]);
        panning = on;
        return;
      }
      this.view.cursor = null;
      this.view.pointer = at;
      this.move(at);
    });
    canvas.addEventListener("pointerup", (event) => {
      panning = null;
      if (!this.scene) return;
      const { on, at } = this.view.place(event);
      // A box is dragged, or two clicks.
      if (this.dragged && Math.hypot(on[0] - this.dragged[0], on[1] - this.dragged[1]) > 6) this.finish(at);
      this.dragged = null;
      if (this.down) this.lift();
    });
    canvas.addEventListener("pointercancel", () => { panning = null; if (this.scene) this.stop(); });
    canvas.addEventListener("pointerleave", () => { this.view.pointer = null; this.view.redraw(); });
    canvas.addEventListener("dblclick", () => { if (this.scene && this.tool === "polygon") this.finish(); });
    canvas.addEventListener("wheel", (event) => {
      if (!this.scene) return;
      event.preventDefault();
      this.view.zoom(Math.exp(-event.deltaY * 0.0015), this.view.place(event).on);
    }, { passive: false });
  }
}

const corners = ([ax, ay], [bx, by]) => [[ax, ay], [bx, ay], [bx, by], [ax, by]];

// By the keyboard corners lie on corners of pixels; in the last column and row, on the border of the image.
const snapped = ([x, y], { width, height }) => [x >= width - 1 ? width : Math.floor(x), y >= height - 1 ? height : Math.floor(y)];
