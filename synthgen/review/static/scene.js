// The labels of one image while they are edited: objects, and for each pixel whose it is. Objects do not overlap.

const STEPS = 60; // that can be taken back

export class Scene {
  // objects: {class, box, score, state} or null when deleted; object k has id k + 1 in ids.
  constructor(labels, task, bitmap) {
    this.id = labels.id;
    this.width = labels.width;
    this.height = labels.height;
    this.blind = labels.blind;
    this.labels = labels;
    this.bitmap = bitmap;
    this.boxes = task === "detect";
    this.ids = task === "instances" || task === "segment" ? new Uint16Array(this.width * this.height) : null;
    this.objects = labels.objects.map(({ class: k, box, score, state }) => ({ class: k, box, score, state }));
    this.selected = -1;
    this.steps = [];
    this.dirty = [0, 0, this.width, this.height];
    if (this.ids) {
      // Where objects overlap the smaller one is on top.
      const area = ({ runs }) => runs.reduce((sum, n, k) => sum + (k % 2 ? n : 0), 0);
      const order = labels.objects.map((one, k) => [area(one), k]).sort((a, b) => b[0] - a[0]);
      for (const [, k] of order) this.#fill(labels.objects[k], k + 1);
    }
  }

  get changed() {
    return this.steps.length > 0 || this.forgotten === true;
  }

  get count() {
    return this.objects.reduce((sum, one) => sum + (one !== null), 0);
  }

  #fill({ box: [x0, y0, x1], runs }, id) {
    const width = x1 - x0;
    let at = 0;
    runs.forEach((length, k) => {
      if (k % 2) {
        for (let p = at; p < at + length; p++) {
          this.ids[(y0 + Math.floor(p / width)) * this.width + x0 + (p % width)] = id;
        }
      }
      at += length;
    });
  }

  at(x, y) {
    x = Math.floor(x);
    y = Math.floor(y);
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return -1;
    if (this.ids) return this.ids[y * this.width + x] - 1;
    let best = -1, least = Infinity;
    this.objects.forEach((one, k) => {
      if (!one) return;
      const [x0, y0, x1, y1] = one.box, area = (x1 - x0) * (y1 - y0);
      if (x >= x0 && x < x1 && y >= y0 && y < y1 && area < least) [best, least] = [k, area];
    });
    return best;
  }

  // The next or previous object that is there.
  step(by) {
    const n = this.objects.length;
    for (let k = 1; k <= n; k++) {
      const at = (((this.selected < 0 && by < 0 ? 0 : this.selected) + by * k) % n + n) % n;
      if (this.objects[at]) return at;
    }
    return -1;
  }

  touch(x0, y0, x1, y1) {
    const d = this.dirty;
    this.dirty = d ? [Math.min(d[0], x0), Math.min(d[1], y0), Math.max(d[2], x1), Math.max(d[3], y1)] : [x0, y0, x1, y1];
  }

  // Changes stand between begin and end, which makes of them one step that can be taken back.
  begin() {
    this.before = { objects: [...this.objects], selected: this.selected, ids: this.ids?.slice(), rect: null };
  }

  #mark(x0, y0, x1, y1) {
    const r = this.before.rect;
    this.before.rect = r
      ? [Math.min(r[0], x0), Math.min(r[1], y0), Math.max(r[2], x1), Math.max(r[3], y1)] : [x0, y0, x1, y1];
    this.touch(x0, y0, x1, y1);
  }

  end() {
    const { objects, selected, ids, rect } = this.before;
    this.before = null;
    if (this.ids && rect) {
      // Objects that lost their last pixel are gone.
      const there = new Uint8Array(this.objects.length + 1);
      const lost = this.#crop(ids, rect);
      for (const id of lost) there[id] = 2;
      if (this.selected >= 0) there[this.selected + 1] = 2;
      if (there.includes(2, 1)) {
        for (const id of this.ids) there[id] = 1;
        for (let k = 0; k < this.objects.length; k++) if (there[k + 1] === 2) this.objects[k] = null;
      }
      if (this.selected >= 0 && !this.objects[this.selected]) this.selected = -1;
    }
    const pixels = rect && this.ids ? this.#crop(ids, rect) : null;
    const same = this.objects.length === objects.length && this.objects.every((one, k) => one === objects[k]);
    if (same && (!pixels || pixels.every((id, k) => id === this.#crop1(rect, k)))) return;
    this.steps.push({ objects, selected, rect, pixels });
    if (this.steps.length > STEPS) {
      this.steps.shift();
      this.forgotten = true;
    }
  }

  #crop(ids, [x0, y0, x1, y1]) {
    const out = new Uint16Array((x1 - x0) * (y1 - y0));
    for (let y = y0; y < y1; y++) out.set(ids.subarray(y * this.width + x0, y * this.width + x1), (y - y0) * (x1 - x0));
    return out;
  }

  #crop1([x0, y0, x1], k) {
    return this.ids[(y0 + Math.floor(k / (x1 - x0))) * this.width + x0 + (k % (x1 - x0))];
  }

  back() {
    const step = this.steps.pop();
    if (!step) return false;
    this.objects = step.objects;
    this.selected = step.selected;
    if (step.pixels) {
      const [x0, y0, x1, y1] = step.rect;
      for (let y = y0; y < y1; y++) {
        this.ids.set(step.pixels.subarray((y - y0) * (x1 - x0), (y - y0 + 1) * (x1 - x0)), y * this.width + x0);
      }
      this.touch(x0, y0, x1, y1);
    }
    this.touch(0, 0, this.width, this.height);
    return true;
  }

  add(k, box = null) {
    this.objects.push({ class: k, box, score: null, state: "new" });
    this.selected = this.objects.length - 1;
    return this.selected;
  }

  // Pixels whose centre lies within `radius` of the segment a–b become the id, or 0 when they are of `only`.
  stroke(a, b, radius, id, only = 0) {
    const [ax, ay] = a, [bx, by] = b, dx = bx - ax, dy = by - ay, long = dx * dx + dy * dy;
    const x0 = Math.max(0, Math.floor(Math.min(ax, bx) - radius)), y0 = Math.max(0, Math.floor(Math.min(ay, by) - radius));
    const x1 = Math.min(this.width, Math.ceil(Math.max(ax, bx) + radius) + 1);
    const y1 = Math.min(this.height, Math.ceil(Math.max(ay, by) + radius) + 1);
    if (x0 >= x1 || y0 >= y1) return;
    const most = radius * radius;
    for (let y = y0; y < y1; y++) {
      for (let x = x0; x < x1; x++) {
        const px = x + 0.5 - ax, py = y + 0.5 - ay;
        const t = long ? Math.max(0, Math.min(1, (px * dx + py * dy) / long)) : 0;
        if ((px - t * dx) ** 2 + (py - t * dy) ** 2 > most) continue;
        const at = y * this.width + x;
        if (id || !only || this.ids[at] === only) this.ids[at] = id;
      }
    }
    this.#mark(Math.max(0, x0 - 1), Math.max(0, y0 - 1), Math.min(this.width, x1 + 1), Math.min(this.height, y1 + 1));
  }

  // Pixels whose centre lies inside the polygon, by the even-odd rule.
  polygon(points, id) {
    const ys = points.map((p) => p[1]), y0 = Math.max(0, Math.floor(Math.min(...ys)));
    const y1 = Math.min(this.height, Math.ceil(Math.max(...ys)));
    let left = this.width, right = 0;
    for (let y = y0; y < y1; y++) {
      const line = y + 0.5, cuts = [];
      points.forEach(([ax, ay], k) => {
        const [bx, by] = points[(k + 1) % points.length];
        if (ay <= line !== by <= line) cuts.push(ax + ((line - ay) / (by - ay)) * (bx - ax));
      });
      cuts.sort((a, b) => a - b);
      for (let k = 0; k + 1 < cuts.length; k += 2) {
        const from = Math.max(0, Math.ceil(cuts[k] - 0.5)), to = Math.min(this.width, Math.ceil(cuts[k + 1] - 0.5));
        if (from < to) {
          this.ids.fill(id, y * this.width + from, y * this.width + to);
          left = Math.min(left, from);
          right = Math.max(right, to);
        }
      }
    }
    if (left < right) {
      this.#mark(Math.max(0, left - 1), Math.max(0, y0 - 1), Math.min(this.width, right + 1), Math.min(this.height, y1 + 1));
    }
  }

  remove(k) {
    this.begin();
    if (this.ids) {
      this.ids.forEach((id, at) => { if (id === k + 1) this.ids[at] = 0; });
      this.#mark(0, 0, this.width, this.height);
    }
    this.objects[k] = null;
    this.selected = -1;
    this.end();
  }

  classify(k, value) {
    if (this.objects[k].class === value) return;
    this.begin();
    this.objects[k] = { ...this.objects[k], class: value };
    this.touch(0, 0, this.width, this.height);
    this.end();
  }

  // What goes over the wire: [{class, box, runs}], runs row by row inside the box, zeros first.
  wire() {
    if (!this.ids) return this.objects.filter(Boolean).map((one) => ({ class: one.class, box: one.box }));
    const n = this.objects.length, { width, height, ids } = this;
    const box = Array.from({ length: n }, () => [width, height, 0, 0]);
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        const id = ids[at];
        if (!id) continue;
        const b = box[id - 1];
        if (x < b[0]) b[0] = x;
        if (x >= b[2]) b[2] = x + 1;
        if (y < b[1]) b[1] = y;
        b[3] = y + 1;
      }
    }
    return this.objects.flatMap((one, k) => (one && box[k][2] ? [{ class: one.class, box: box[k], runs: this.#runs(k + 1, box[k]) }] : []));
  }

  #runs(id, [x0, y0, x1, y1]) {
    const runs = [];
    let inside = false, length = 0;
    for (let y = y0; y < y1; y++) {
      for (let x = x0; x < x1; x++) {
        if ((this.ids[y * this.width + x] === id) !== inside) {
          runs.push(length);
          [inside, length] = [!inside, 0];
        }
        length++;
      }
    }
    runs.push(length);
    return runs;
  }
}
