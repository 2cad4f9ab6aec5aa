// The canvas: an image under its labels, zoomed and moved, its contrast stretched for the eye alone.

const LARGE = 1_500_000; // px; larger images have their outlines drawn into the overlay, not as lines

export class View {
  constructor(canvas, colours) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.rgb = colours.map((c) => [1, 3, 5].map((k) => parseInt(c.slice(k, k + 2), 16)));
    this.colours = colours;
    this.shown = true;
    this.stretched = false;
    this.cursor = null; // [x, y] of the keyboard's, px of the image
    this.pointer = null;
    this.draft = null; // {points, closed} of a polygon or box that is not finished
    this.radius = 0; // of the brush, when one is held
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  open(scene) {
    this.scene = scene;
    const { width, height } = scene;
    this.base = this.#canvas(width, height);
    this.base.getContext("2d").drawImage(scene.bitmap, 0, 0);
    this.bright = null;
    this.overlay = scene.ids ? this.#canvas(width, height) : null;
    scene.touch(0, 0, width, height);
    this.cursor = this.pointer = this.draft = null;
    this.fit();
  }

  #canvas(width, height) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, height];
    return canvas;
  }

  resize() {
    const { clientWidth: w, clientHeight: h } = this.canvas, ratio = devicePixelRatio || 1;
    [this.canvas.width, this.canvas.height] = [Math.round(w * ratio), Math.round(h * ratio)];
    this.ratio = ratio;
    if (this.scene) this.fit();
  }

  fit() {
    const { width, height } = this.scene, { width: W, height: H } = this.canvas, edge = 16 * this.ratio;
    this.scale = Math.max(0.01, Math.min((W - edge) / width, (H - edge) / height));
    if (this.scale > 2) this.scale = Math.floor(this.scale * 2) / 2; // whole pixels look even
    this.x = (W - width * this.scale) / 2;
    this.y = (H - height * this.scale) / 2;
    this.redraw();
  }

  zoom(by, at = null) {
    const [cx, cy] = at ?? [this.canvas.width / 2, this.canvas.height / 2];
    const scale = Math.max(0.02, Math.min(64, this.scale * by));
    this.x = cx - ((cx - this.x) * scale) / this.scale;
    this.y = cy - ((cy - this.y) * scale) / this.scale;
    this.scale = scale;
    this.redraw();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.redraw();
  }

  // Of a pointer event: px of the image, and px of the canvas.
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const on = [(event.clientX - box.left) * this.ratio, (event.clientY - box.top) * this.ratio];
    return { on, at: [(on[0] - this.x) / this.scale, (on[1] - this.y) / this.scale] };
  }

  // Move the view so that a point of the image can be seen.
  follow([x, y]) {
    const edge = 24 * this.ratio, sx = this.x + x * this.scale, sy = this.y + y * this.scale;
    this.x += Math.max(0, edge - sx) - Math.max(0, sx - this.canvas.width + edge);
    this.y += Math.max(0, edge - sy) - Math.max(0, sy - this.canvas.height + edge);
    this.redraw();
  }

  redraw() {
    if (this.waits) return;
    this.waits = true;
    requestAnimationFrame(() => {
      this.waits = false;
      if (this.scene) this.#draw();
    });
  }

  // From the 1st to the 99th percentile of the grey levels; the file stays as it is.
  #stretch() {
    const { width, height } = this.scene, source = this.base.getContext("2d").getImageData(0, 0, width, height);
    const counts = new Uint32Array(256), data = source.data;
    for (let k = 0; k < data.length; k += 4) counts[(data[k] * 77 + data[k + 1] * 150 + data[k + 2] * 29) >> 8]++;
    const total = width * height;
    let low = 0, high = 255;
    for (let sum = counts[0]; sum < total * 0.01 && low < 255; sum += counts[++low]);
    for (let sum = counts[255]; sum < total * 0.01 && high > 0; sum += counts[--high]);
    const table = Uint8ClampedArray.from({ length: 256 }, (_, v) => ((v - low) * 255) / Math.max(high - low, 1));
    for (let k = 0; k < data.length; k += 4) for (let c = 0; c < 3; c++) data[k + c] = table[data[k + c]];
    this.bright = this.#canvas(width, height);
    this.bright.getContext("2d").putImageData(source, 0, 0);
  }

  #paint() {
    const { scene } = this, rect = scene.dirty;
    if (!rect || !scene.ids) return;
    scene.dirty = null;
    const [x0, y0, x1, y1] = rect, { width, height, ids, objects } = scene;
    const pixels = new ImageData(x1 - x0, y1 - y0), data = pixels.data, baked = width * height > LARGE;
    for (let y = y0, k = 0; y < y1; y++) {
      for (let x = x0; x < x1; x++, k += 4) {
        const at = y * width + x, id = ids[at];
        if (!id) continue;
        const [r, g, b] = this.rgb[objects[id - 1].class];
        const edge = baked && (ids[at - 1] !== id || ids[at + 1] !== id || ids[at - width] !== id || ids[at + width] !== id
          || x === 0 || y === 0 || x === width - 1 || y === height - 1);
        data[k] = r;
        data[k + 1] = g;
        data[k + 2] = b;
        data[k + 3] = edge ? 255 : 56;
      }
    }
    this.overlay.getContext("2d").putImageData(pixels, x0, y0);
  }

  // Lines along the edges of the pixels, by class; those of the selected object apart.
  #edges() {
    const { scene, scale } = this, { width, height, ids, objects, selected } = scene;
    const x0 = Math.max(0, Math.floor(-this.x / scale)), x1 = Math.min(width, Math.ceil((this.canvas.width - this.x) / scale));
    const y0 = Math.max(0, Math.floor(-this.y / scale)), y1 = Math.min(height, Math.ceil((this.canvas.height - this.y) / scale));
    const paths = new Map(), chosen = new Path2D();
    const path = (id) => {
      if (id - 1 === selected) return chosen;
      const k = objects[id - 1].class;
      if (!paths.has(k)) paths.set(k, new Path2D());
      return paths.get(k);
    };
    const line = (id, ax, ay, bx, by) => {
      if (!id) return;
      const p = path(id);
      p.moveTo(this.x + ax * scale, this.y + ay * scale);
      p.lineTo(this.x + bx * scale, this.y + by * scale);
    };
    for (let y = y0; y < y1; y++) {
      for (let x = x0; x < x1; x++) {
        const id = ids[y * width + x], left = x ? ids[y * width + x - 1] : 0, above = y ? ids[(y - 1) * width + x] : 0;
        if (id !== left) line(id, x, y, x, y + 1), line(left, x, y, x, y + 1);
        if (id !== above) line(id, x, y, x + 1, y), line(above, x, y, x + 1, y);
        if (x === width - 1) line(id, x + 1, y, x + 1, y + 1);
        if (y === height - 1) line(id, x, y + 1, x + 1, y + 1);
      }
    }
    return { paths, chosen };
  }

  #draw() {
    const { context: c, scene, scale, ratio } = this, { width, height } = scene;
    c.fillStyle = getComputedStyle(this.canvas).getPropertyValue("--ground");
    c.fillRect(0, 0, this.canvas.width, this.canvas.height);
    c.imageSmoothingEnabled = scale < 1;
    if (this.stretched && !this.bright) this.#stretch();
    c.drawImage(this.stretched ? this.bright : this.base, this.x, this.y, width * scale, height * scale);
    if (this.shown) {
      if (scene.ids) this.#masks(c);
      else this.#boxes(c);
    }
    if (this.draft) this.#drafted(c);
    if (this.cursor) this.#cross(c);
    const hand = this.cursor ?? this.pointer;
    if (hand && this.radius) {
      c.beginPath();
      c.arc(this.x + hand[0] * scale, this.y + hand[1] * scale, this.radius * scale, 0, 7);
      this.#twice(c, "#fff", 1.2 * ratio);
    }
  }

  // A line on a dark one, so that it is seen on every ground.
  #twice(c, colour, width, path = null) {
    for (const [style, wide] of [["rgba(0,0,0,.65)", width + 1.6 * this.ratio], [colour, width]]) {
      c.strokeStyle = style;
      c.lineWidth = wide;
      if (path) c.stroke(path);
      else c.stroke();
    }
  }

  #masks(c) {
    const { scene, ratio } = this;
    this.#paint();
    c.drawImage(this.overlay, this.x, this.y, scene.width * this.scale, scene.height * this.scale);
    if (scene.width * scene.height > LARGE && this.scale < 2) {
      if (scene.selected >= 0) this.#frame(c);
      return;
    }
    const { paths, chosen } = this.#edges();
    c.lineCap = "round";
    for (const [k, path] of paths) this.#twice(c, this.colours[k], 1.5 * ratio, path);
    this.#twice(c, "#fff", 2 * ratio, chosen);
  }

  // Of a large image far away: a frame round the selected object, looked for when it or its pixels change.
  #frame(c) {
    const { scene } = this, { width, ids, selected } = scene, key = `${scene.id} ${selected} ${scene.steps.length}`;
    if (this.framed?.key !== key) {
      const box = [scene.width, scene.height, 0, 0], id = selected + 1;
      for (let at = ids.indexOf(id); at >= 0; at = ids.indexOf(id, at + 1)) {
        const x = at % width, y = Math.floor(at / width);
        box[0] = Math.min(box[0], x);
        box[1] = Math.min(box[1], y);
        box[2] = Math.max(box[2], x + 1);
        box[3] = y + 1;
      }
      this.framed = { key, box };
    }
    if (this.framed.box[2]) this.#rectangle(c, this.framed.box, "#fff", 2 * this.ratio);
  }

  #rectangle(c, [x0, y0, x1, y1], colour, width) {
    c.beginPath();
    c.rect(this.x + x0 * this.scale, this.y + y0 * this.scale, (x1 - x0) * this.scale, (y1 - y0) * this.scale);
    this.#twice(c, colour, width);
  }

  #boxes(c) {
    this.scene.objects.forEach((one, k) => {
      if (one) this.#rectangle(c, one.box, k === this.scene.selected ? "#fff" : this.colours[one.class], 2 * this.ratio);
    });
  }

  #drafted(c) {
    const { points, closed } = this.draft, on = points.map(([x, y]) => [this.x + x * this.scale, this.y + y * this.scale]);
    c.beginPath();
    on.forEach(([x, y], k) => (k ? c.lineTo(x, y) : c.moveTo(x, y)));
    if (closed) c.closePath();
    this.#twice(c, "#fff", 1.5 * this.ratio);
    for (const [x, y] of on) {
      c.beginPath();
      c.arc(x, y, 3 * this.ratio, 0, 7);
      c.fillStyle = "#fff";
      c.fill();
      this.#twice(c, "#fff", 0.5 * this.ratio);
    }
  }

  #cross(c) {
    const x = this.x + this.cursor[0] * this.scale, y = this.y + this.cursor[1] * this.scale, far = 14 * this.ratio, near = 3 * this.ratio;
    c.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      c.moveTo(x + dx * near, y + dy * near);
      c.lineTo(x + dx * far, y + dy * far);
    }
    this.#twice(c, "#ffd60a", 1.6 * this.ratio);
  }
}
