"use strict";
// Text from the shards reaches the page by textContent alone, never as HTML.
// A file name that is no UTF-8 holds lone surrogates, which browsers choke on elsewhere.
const wellFormed = (_, value) => (typeof value === "string" && value.toWellFormed ? value.toWellFormed() : value);
const data = JSON.parse(document.getElementById("data").textContent, wellFormed);
const byId = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en-US");
const NONE = "nothing"; // the chip of label maps that are as they were
const scores = data.items.map((item) => item.score).filter((score) => typeof score === "number");
const [lowest, highest] = [Math.min(...scores), Math.max(...scores)];
const STEPS = 200;
const SORTS = { "": "as in the shards", source: "source" };
if (scores.length) Object.assign(SORTS, { score: "score, lowest first", "-score": "score, highest first" });
const VIEWS = { "": "image", label: "label map", overlay: "overlay" };

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// The state is what the address says after its #.
const fresh = () => ({ class: [], source: "", perturbed: [], from: 0, to: STEPS, keep: "", sort: "", view: "", open: "" });
let state = fresh();

function readAddress() {
  const told = {};
  for (const part of location.hash.slice(1).split("&")) {
    const [name, ...value] = part.split("=");
    told[name] = value.join("=");
  }
  const text = (name) => { try { return decodeURIComponent(told[name] || ""); } catch { return ""; } };
  const list = (name) => (told[name] || "").split(",").filter(Boolean).map((word) => { try { return decodeURIComponent(word); } catch { return word; } });
  const known = new Map(data.classes.map((it) => [it.name, it.id]));
  const step = (name, otherwise) => (told[name] === undefined || !scores.length ? otherwise : stepOf(parseFloat(told[name]), otherwise));
  state = {
    class: list("class").filter((name) => known.has(name)),
    source: text("source"),
    perturbed: list("perturbed"),
    from: step("from", 0),
    to: step("to", STEPS),
    keep: ["kept", "dropped"].includes(text("keep")) ? text("keep") : "",
    sort: text("sort") in SORTS ? text("sort") : "",
    view: text("view") in VIEWS ? text("view") : "",
    open: text("open"),
  };
}

function writeAddress() {
  const parts = [];
  const add = (name, value) => { if (value) parts.push(`${name}=${value}`); };
  add("class", state.class.map(encodeURIComponent).join(","));
  add("source", encodeURIComponent(state.source));
  add("perturbed", state.perturbed.map(encodeURIComponent).join(","));
  if (state.from > 0) add("from", shortScore(scoreAt(state.from)));
  if (state.to < STEPS) add("to", shortScore(scoreAt(state.to)));
  for (const name of ["keep", "sort", "view", "open"]) add(name, encodeURIComponent(state[name]));
  history.replaceState(null, "", parts.length ? `#${parts.join("&")}` : location.pathname + location.search);
}

const scoreAt = (step) => lowest + ((highest - lowest) * step) / STEPS;
const shortScore = (score) => String(parseFloat(score.toPrecision(4)));
function stepOf(score, otherwise) {
  if (Number.isNaN(score) || highest === lowest) return otherwise;
  return Math.min(STEPS, Math.max(0, Math.round(((score - lowest) / (highest - lowest)) * STEPS)));
}

// Filters. `but` leaves one out, to count what its other choices would give.
const changes = (item) => (item.perturbations.length ? item.perturbations : [NONE]);
const classIds = new Map(data.classes.map((it) => [it.name, it.id]));
function passes(item, but = "") {
  if (but !== "class" && !state.class.every((name) => item.held.has(classIds.get(name)))) return false;
  const wanted = state.source.toLowerCase();
  if (wanted && !item.source.toLowerCase().includes(wanted) && !item.key.includes(wanted)) return false;
  if (but !== "perturbed" && state.perturbed.length && !changes(item).some((name) => state.perturbed.includes(name))) return false;
  if (but !== "keep" && state.keep && item.keep !== (state.keep === "kept")) return false;
  if (state.from > 0 || state.to < STEPS) {
    if (typeof item.score !== "number") return false;
    const slack = (highest - lowest) * 1e-9;
    if (item.score < scoreAt(state.from) - slack || item.score > scoreAt(state.to) + slack) return false;
  }
  return true;
}

function compare(a, b) {
  const inOrder = (left, right) => (left < right ? -1 : left > right ? 1 : 0);
  if (state.sort === "source") return inOrder(a.source, b.source) || inOrder(a.key, b.key);
  if (state.sort.endsWith("score")) {
    const [left, right] = [a, b].map((item) => typeof item.score === "number");
    if (!left || !right) return right - left || inOrder(a.key, b.key); // those without a score come last
    return (state.sort === "score" ? a.score - b.score : b.score - a.score) || inOrder(a.key, b.key);
  }
  return inOrder(a.key, b.key);
}

// What is made once.
function chip(text, pressed) {
  return element("button", { type: "button", class: "chip", "aria-pressed": "false", onclick: pressed }, text, element("span", { class: "count" }));
}
function toggle(list, value) {
  return list.includes(value) ? list.filter((it) => it !== value) : [...list, value];
}
function swatch(colour) {
  const made = element("span", { class: "swatch" });
  made.style.background = colour;
  return made;
}
function verdict(item) {
  if (item.keep === undefined) return null;
  const score = typeof item.score === "number" ? ` ${shortScore(item.score)}` : "";
  return element("span", { class: `verdict ${item.keep ? "kept" : "dropped"}`, title: item.reason || "" }, `${item.keep ? "kept" : "dropped"}${score}`);
}
function tile(item) {
  const about = [`sample ${item.sample}`, ...item.perturbations].join(" · ");
  const [width, height] = item.size;
  const name = item.source.lastIndexOf("/") + 1; // of a long path, the end is what tells
  const picture = (source, options) => element("img", { src: source, width, height, loading: "lazy", decoding: "async", ...options });
  return element("li", { class: item.keep === false ? "is-dropped" : null },
    element("button", { type: "button", onclick: () => open(item.key) },
      element("span", { class: "pair" }, picture(item.image, { alt: item.key }), picture(item.label, { class: "label", alt: "" })),
      element("span", { class: "caption" },
        element("span", { class: "source", title: item.source },
          element("span", {}, item.source.slice(0, name)), element("span", {}, item.source.slice(name))),
        element("span", { class: "about" }, element("span", { title: about }, about), verdict(item)))));
}

for (const item of data.items) {
  item.held = new Set(item.classes.map(([id]) => id));
  item.tile = tile(item);
}
const classBoxes = data.classes.map((it) => {
  const box = element("input", { type: "checkbox", onchange: () => change({ class: toggle(state.class, it.name) }) });
  const count = element("span", { class: "count" });
  const label = element("label", {}, box, swatch(it.colour), element("span", {}, it.name), count);
  byId("classes").append(label);
  return { ...it, box, count, label };
});
const names = [...new Set(data.items.flatMap(changes))].sort((a, b) => (a === NONE) - (b === NONE) || (a < b ? -1 : 1));
const changeChips = names.map((name) => ({ name, chip: chip(name, () => change({ perturbed: toggle(state.perturbed, name) })) }));
byId("perturbations").append(...changeChips.map((it) => it.chip));
byId("perturbed").hidden = names.every((name) => name === NONE);
const keepChips = ["kept", "dropped"].map((name) => ({ name, chip: chip(name, () => change({ keep: state.keep === name ? "" : name })) }));
byId("keep").append(...keepChips.map((it) => it.chip));
byId("scores").hidden = !data.scored;
for (const end of ["from", "to"]) {
  Object.assign(byId(end), { min: 0, max: STEPS, step: 1, disabled: highest <= lowest || !scores.length });
  byId(end).addEventListener("input", () => {
    const step = Number(byId(end).value);
    change(end === "from" ? { from: Math.min(step, state.to) } : { to: Math.max(step, state.from) });
  });
}
for (const [value, text] of Object.entries(SORTS)) byId("sort").append(element("option", { value }, text));
const viewButtons = Object.entries(VIEWS).map(([value, text]) => [value, element("button", { type: "button", onclick: () => change({ view: value }) }, text)]);
byId("view").append(...viewButtons.map(([, button]) => button));
byId("sort").addEventListener("change", () => change({ sort: byId("sort").value }));
byId("source").addEventListener("input", () => change({ source: byId("source").value }));
byId("clear").addEventListener("click", () => change({ ...fresh(), sort: state.sort, view: state.view }));

// What follows the state.
let shown = [];
function change(changes) {
  Object.assign(state, changes);
  writeAddress();
  draw();
}
function setCount(made, count) {
  made.querySelector(".count").textContent = number(count);
}
function draw() {
  shown = data.items.filter((item) => passes(item)).sort(compare);
  byId("tiles").replaceChildren(...shown.map((item) => item.tile));
  byId("empty").hidden = shown.length > 0;
  byId("count").textContent = `showing ${number(shown.length)} of ${number(data.items.length)} (of ${number(data.total)} in the shards)`;
  for (const it of classBoxes) {
    const count = shown.filter((item) => item.held.has(it.id)).length;
    it.box.checked = state.class.includes(it.name);
    it.count.textContent = number(count);
    it.label.classList.toggle("none", count === 0 && !it.box.checked);
  }
  const others = data.items.filter((item) => passes(item, "perturbed"));
  for (const it of changeChips) {
    it.chip.setAttribute("aria-pressed", state.perturbed.includes(it.name));
    setCount(it.chip, others.filter((item) => changes(item).includes(it.name)).length);
  }
  const decided = data.items.filter((item) => passes(item, "keep"));
  for (const it of keepChips) {
    it.chip.setAttribute("aria-pressed", state.keep === it.name);
    setCount(it.chip, decided.filter((item) => item.keep === (it.name === "kept")).length);
  }
  for (const end of ["from", "to"]) {
    byId(end).value = state[end];
    byId(`${end}-value`).textContent = scores.length ? shortScore(scoreAt(state[end])) : "";
  }
  if (byId("source").value !== state.source) byId("source").value = state.source;
  byId("sort").value = state.sort;
  for (const [value, button] of viewButtons) button.setAttribute("aria-pressed", state.view === value);
  byId("browser").className = `browser ${state.view ? `show-${state.view}` : ""}`;
  const pristine = { ...fresh(), sort: state.sort, view: state.view, open: state.open };
  byId("clear").hidden = JSON.stringify(state) === JSON.stringify(pristine);
  drawSheet();
}

// The sheet with one sample.
const sheet = byId("sheet");
function open(key) {
  change({ open: key });
}
function go(steps) {
  const at = shown.findIndex((item) => item.key === state.open);
  if (shown.length) open(shown[(at + steps + shown.length) % shown.length].key);
}
function drawSheet() {
  const item = data.items.find((it) => it.key === state.open);
  if (!item) {
    if (sheet.open) sheet.close();
    return;
  }
  const at = shown.indexOf(item);
  byId("sheet-title").textContent = item.source;
  byId("sheet-place").textContent = at < 0 ? "not among those that are shown" : `${number(at + 1)} of ${number(shown.length)}`;
  for (const id of ["big-image", "over-image"]) byId(id).src = item.image;
  for (const id of ["big-label", "over-label"]) byId(id).src = item.label;
  const reduced = item.size[0] > data.width ? `, reduced to a width of ${data.width} for this page` : "";
  byId("big-size").textContent = `image, ${item.size[0]} × ${item.size[1]}${reduced}`;
  const facts = { key: item.key, source: item.source, split: item.split, sample: item.sample };
  Object.assign(facts, { variant: item.variant, "changed by": item.perturbations.join(", ") || NONE });
  if (data.scored) {
    Object.assign(facts, { decision: verdict(item) || "none", reason: item.reason });
  }
  byId("facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) =>
    value === null || value === undefined ? [] : [element("dt", {}, name), element("dd", {}, value instanceof Node ? value : String(value))]));
  const labelled = item.classes.reduce((sum, [, share]) => sum + share, 0);
  const rest = labelled < 0.9999 ? [[-1, 1 - labelled]] : [];
  byId("shares").replaceChildren(...[...item.classes, ...rest].map(([id, share]) => {
    const it = data.classes.find((one) => one.id === id) || { name: "not labelled", colour: "#000000" };
    const percent = share >= 0.0995 ? (100 * share).toFixed(0) : share >= 0.001 ? (100 * share).toFixed(1) : "< 0.1";
    return element("li", {}, swatch(it.colour), element("span", {}, it.name), element("span", { class: "count" }, `${percent} %`));
  }));
  byId("meta-title").textContent = `${item.key}.json`;
  byId("meta").textContent = item.meta;
  if (!sheet.open) sheet.showModal();
}
sheet.addEventListener("close", () => {
  const item = data.items.find((it) => it.key === state.open);
  if (state.open) change({ open: "" });
  if (item && item.tile.isConnected) item.tile.firstChild.focus();
});
sheet.addEventListener("click", (event) => { if (event.target === sheet) sheet.close(); });
sheet.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") go(-1);
  else if (event.key === "ArrowRight") go(1);
  else return;
  event.preventDefault();
});
byId("previous").addEventListener("click", () => go(-1));
byId("next").addEventListener("click", () => go(1));
byId("close").addEventListener("click", () => sheet.close());
window.addEventListener("hashchange", () => { readAddress(); draw(); });
readAddress();
draw();
