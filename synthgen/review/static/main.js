// The page: which image is open, what the keys do, and what is sent.

import * as api from "./api.js";
import { Clock, listen } from "./clock.js";
import { Hands, TOOLS } from "./hands.js";
import { Scene } from "./scene.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const clock = new Clock();
const session = await api.about();
const view = new View($("canvas"), session.colours);
const hands = new Hands(view, told);
const classify = session.task === "classify";
const kept = new Map(); // id → scene with changes whose decision failed, or was taken back
let at = 0, scene = null, chosen = null, typed = "", sending = Promise.resolve();

const DECISIONS = [
  ["done", "Enter", "Accept"], ["reject", "r", "Reject"], ["empty", "e", "Empty"], ["skip", "s", "Skip"], ["undo", "u", "Undo"],
];
const HELP = [
  ["Decide", [["Enter or a", "accept the labels; after a change, save it"], ["r", "reject: wrong, and nothing in its place"],
    ["e", "empty: there is nothing to label"], ["s", "skip: no opinion"], ["u", "take back the last change, or the last decision"]]],
  ["Classes", [["1 – 9, 0", "class of the selected and of new objects"], ["/", "find a class by its name"]]],
  ["Objects", [["v", "select"], [", and .", "previous and next object"], ["Del", "delete the selected object"],
    ["n or Esc", "let go: the next stroke is a new object"]]],
  ["Draw", [["b  x", "brush, eraser"], ["[ ]", "size of the brush"], ["p", "polygon: a corner per click, Enter closes it"],
    ["o", "box: drag, or two clicks"], ["Arrows", "move the cursor by 1 px, with Shift by 8"], ["Space", "press the cursor: draw, corner, select"]]],
  ["Look", [["+ − f", "zoom in, out, fit; also the wheel"], ["Shift + drag", "move the image"], ["c", "contrast, on the screen only"],
    ["h", "hide or show the labels"], ["?", "this help"]]],
];

function button(parent, id, text, key, press) {
  const made = document.createElement("button");
  made.id = id;
  made.type = "button";
  made.append(text);
  if (key) {
    const hint = document.createElement("kbd");
    hint.textContent = key;
    hint.ariaHidden = "true";
    made.append(hint);
    made.setAttribute("aria-keyshortcuts", key);
  }
  made.addEventListener("click", () => {
    press();
    $("canvas").focus({ preventScroll: true }); // Enter and Space belong to the picture again
  });
  parent.append(made);
  return made;
}

function say(text, wrong = false) {
  $("said").textContent = text;
  $("said").classList.toggle("wrong", wrong);
}

function build() {
  for (const [name, key, text] of TOOLS) {
    if (classify || (session.task === "detect" && !["select", "box"].includes(name))) continue;
    button($("tools"), `tool-${name}`, text, key, () => hands.use(name));
  }
  session.classes.forEach((name, k) => {
    const made = button($("classes"), `class-${k}`, name, k < 10 ? String((k + 1) % 10) : "", () => pick(k));
    made.style.setProperty("--class", session.colours[k]);
  });
  for (const [id, key, text, press] of [
    ["contrast", "c", "Contrast", () => toggle("stretched")], ["labels", "h", "Labels", () => toggle("shown")],
    ["fit", "f", "Fit", () => view.fit()], ["keys-shown", "?", "Help", () => $("help").showModal()],
  ]) button($("views"), id, text, key, press);
  for (const [id, key, text] of DECISIONS) {
    if (classify && id === "empty") continue;
    button($("actions"), id, text, key, () => act(id));
  }
  for (const [title, rows] of HELP) {
    const list = document.createElement("dl"), head = document.createElement("h3");
    head.textContent = title;
    for (const [key, what] of rows) {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = key;
      dd.textContent = what;
      list.append(dt, dd);
    }
    $("keys").append(head, list);
  }
  $("size-row").hidden = classify || session.task === "detect";
  $("tools").hidden = classify;
  $("size").addEventListener("input", () => hands.resize(Number($("size").value)));
  $("find").addEventListener("input", find);
  $("find").addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter") found(true);
    if (event.key === "Escape") found(false);
  });
}

function toggle(what) {
  view[what] = !view[what];
  view.redraw();
  told();
}

// What stands beside the picture, after every change.
function told() {
  if (!scene) return;
  for (const [name] of TOOLS) $(`tool-${name}`)?.setAttribute("aria-pressed", String(hands.tool === name));
  const current = classify ? chosen : scene.selected >= 0 ? scene.objects[scene.selected].class : hands.class;
  session.classes.forEach((_, k) => $(`class-${k}`).setAttribute("aria-pressed", String(k === current)));
  $("contrast").setAttribute("aria-pressed", String(view.stretched));
  $("labels").setAttribute("aria-pressed", String(view.shown));
  $("size").value = hands.size;
  $("size-value").textContent = `${hands.size} px`;
  const shown = !scene.blind, one = scene.objects[scene.selected];
  $("done").firstChild.textContent = changed() || scene.blind ? "Save" : "Accept";
  $("reject").disabled = scene.blind;
  const text = classify
    ? shown && scene.labels.image_class !== null ? `The model says ${session.classes[scene.labels.image_class]} (${scene.labels.image_score.toFixed(2)}).` : ""
    : one ? `${session.classes[one.class]}${one.score === null ? "" : ` · score ${one.score.toFixed(2)}`}${one.state === "to_review" ? " · to review" : ""}`
    : `${scene.count} object${scene.count === 1 ? "" : "s"}${scene.changed ? " · changed" : ""}`;
  say(text);
}

const changed = () => (classify ? chosen !== scene.labels.image_class : scene.changed);

function progress(now) {
  const done = now.decided + now.skipped, minutes = now.minutes_left;
  $("bar").max = Math.max(1, done + now.left);
  $("bar").value = done;
  const time = minutes < 1 ? "less than a minute" : `about ${Math.round(minutes)} min`;
  $("progress").textContent = `${done} of ${done + now.left} · ${now.left ? `${time} left${now.measured ? "" : " (assumed)"}` : "nothing left"} · ${session.by}`;
}

async function go(to, seconds = 0) {
  at = to;
  scene = null;
  document.body.dataset.ready = "";
  const over = at >= session.ids.length;
  $("end").hidden = !over;
  $("canvas").hidden = over;
  for (const [id] of DECISIONS) if (id !== "undo" && $(id)) $(id).disabled = over;
  if (over) {
    await sending;
    $("why").textContent = "Nothing waits any more";
    $("end-text").textContent = $("progress").textContent;
    say("");
    document.body.dataset.ready = "end";
    return;
  }
  const id = session.ids[at];
  let loaded;
  try {
    loaded = await api.open(session.ids, at);
  } catch (error) {
    say(`The image cannot be loaded: ${error.message}`, true);
    return;
  }
  if (session.ids[at] !== id) return; // somebody went on meanwhile
  scene = kept.get(id) ?? new Scene(loaded.labels, session.task, loaded.bitmap);
  kept.delete(id);
  chosen = scene.labels.image_class;
  $("why").textContent = `${scene.labels.why || "next"}${scene.blind ? " · the model's labels are hidden: label it by yourself" : ""}`;
  hands.open(scene);
  view.open(scene);
  clock.start(seconds);
  told();
  $("canvas").focus({ preventScroll: true });
  document.body.dataset.ready = String(at);
}

// The next image is shown at once; what is sent goes in order, and what fails brings its image back.
function decide(action, more = {}) {
  const here = at, mine = scene, id = session.ids[at], seconds = Math.round(clock.seconds * 1000) / 1000;
  sending = sending.then(() => api.decide(id, { action, seconds, ...more })).then(progress).catch((error) => {
    kept.set(id, mine);
    return go(here, seconds).then(() => say(`Not saved: ${error.message}`, true));
  });
  if (here + 1 >= session.ids.length) return sending.then(() => (at === here && scene === mine ? go(here + 1) : null));
  return go(here + 1);
}

function done() {
  if (hands.finish()) return null;
  hands.stop();
  if (classify) {
    if (chosen === null) return say("Which class? Press its number, or / and its name.", true);
    return !scene.blind && !changed() ? decide("accept") : decide(scene.blind ? "answer" : "redraw", { image_class: chosen });
  }
  if (!scene.blind && !scene.changed) return decide("accept");
  const objects = scene.wire();
  if (!objects.length) return say("There is no object: press e if the image is empty, or s to skip it.", true);
  return decide(scene.blind ? "answer" : "redraw", { objects });
}

function empty() {
  if (classify) return null;
  hands.stop();
  if (scene.count) return say(`There are ${scene.count} objects: delete them (Del) before you say that there are none.`, true);
  return decide("confirm-empty");
}

async function undo() {
  if (scene && hands.stop()) return null;
  if (scene && !classify && scene.back()) {
    view.redraw();
    return told();
  }
  await sending;
  let back;
  try {
    back = await api.undo();
  } catch (error) {
    return say(`Not taken back: ${error.message}`, true);
  }
  if (back.id === null) return say("Nothing to take back.");
  progress(back);
  await go(session.ids.indexOf(back.id), back.seconds);
  return say("Taken back.");
}

function act(name) {
  if (name === "undo") return undo();
  if (!scene) return null;
  if (name === "done") return done();
  if (name === "empty") return empty();
  if (name === "reject" && scene.blind) return say("There is no pre-label to reject here: label the image, or skip it.", true);
  return decide(name);
}

function pick(k) {
  if (!scene || k >= session.classes.length) return;
  hands.class = k;
  if (classify) {
    chosen = k;
    told();
    done();
    return;
  }
  if (scene.selected >= 0) {
    scene.classify(scene.selected, k);
    view.redraw();
  }
  told();
}

function find() {
  const text = $("find").value.trim().toLowerCase();
  const names = session.classes.map((name) => name.toLowerCase());
  const hit = [names.indexOf(text), names.findIndex((n) => text && n.startsWith(text)), names.findIndex((n) => text && n.includes(text))]
    .find((k) => k >= 0);
  typed = hit === undefined ? null : hit;
  session.classes.forEach((_, k) => $(`class-${k}`).classList.toggle("hit", k === typed));
}

function found(take) {
  const k = typed;
  $("find").value = "";
  find();
  $("find").hidden = true;
  $("canvas").focus({ preventScroll: true });
  if (take && k !== null) pick(k);
}

function select(k) {
  scene.selected = k;
  view.redraw();
  told();
}

const KEYS = {
  Enter: () => act("done"), a: () => act("done"), r: () => act("reject"), s: () => act("skip"), e: () => act("empty"), u: undo,
  v: () => hands.use("select"), b: () => hands.use("brush"), x: () => hands.use("eraser"), p: () => hands.use("polygon"), o: () => hands.use("box"),
  "[": () => hands.resize(hands.size - (hands.size > 12 ? 4 : 1)), "]": () => hands.resize(hands.size + (hands.size >= 12 ? 4 : 1)),
  Delete: remove, Backspace: remove, n: release, Escape: () => { if (!hands.stop()) release(); },
  ",": () => select(scene.step(-1)), ".": () => select(scene.step(1)),
  "+": () => view.zoom(1.25), "=": () => view.zoom(1.25), "-": () => view.zoom(0.8), f: () => view.fit(),
  c: () => toggle("stretched"), h: () => toggle("shown"), "?": () => $("help").showModal(),
  "/": () => { $("find").hidden = false; $("find").focus(); }, " ": () => { if (!classify) hands.space(); },
  ArrowLeft: (far) => hands.cursor(-far, 0), ArrowRight: (far) => hands.cursor(far, 0),
  ArrowUp: (far) => hands.cursor(0, -far), ArrowDown: (far) => hands.cursor(0, far),
};
const ALWAYS = new Set(["u", "?"]);
const ONCE = new Set(["Enter", "a", "r", "s", "e", " "]); // a key held down decides one image, not ten

function remove() {
  if (scene.selected < 0) return say("Select an object first: v and a click, or . and ,", true);
  scene.remove(scene.selected);
  view.redraw();
  return told();
}

function release() {
  select(-1);
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey && event.key === "z") return void (event.preventDefault(), undo());
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return undefined;
  const on = document.activeElement, within = on?.closest("nav, footer");
  if (within && ["Enter", " ", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].includes(event.key)) return undefined;
  if (/^[0-9]$/.test(event.key)) return void (event.repeat || pick((Number(event.key) + 9) % 10));
  const known = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!known || (!scene && !ALWAYS.has(event.key)) || (event.repeat && ONCE.has(event.key))) return undefined;
  event.preventDefault();
  known(event.shiftKey ? 8 : 1);
  return undefined;
});

// A page that is closed before everything is saved asks first.
addEventListener("beforeunload", (event) => { if (scene && !classify && scene.changed) event.preventDefault(); });
build();
listen(clock);
progress(session);
document.title = `Review · ${session.left} left`;
await go(0);
