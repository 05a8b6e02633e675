"use strict";
// The topic map: one canvas, drawn from the data block of this page. Texts are written as text alone, never as HTML.

const data = JSON.parse(document.getElementById("data").textContent);
const count = data.x.length;
const X = Float64Array.from(data.x, (value) => (2 * value) / data.grid - 1);
const Y = Float64Array.from(data.y, (value) => (2 * value) / data.grid - 1);
const places = data.topics.map((topic) => [(2 * topic.x) / data.grid - 1, (2 * topic.y) / data.grid - 1]);
const inTopic = data.topics.map(() => []);
const inSource = data.sources.map(() => []);
// Of a topic's points those in company: at least three of the same within a small distance.
const sparse = Math.min(2.5, Math.max(1, Math.sqrt(5000 / Math.max(count, 1))));
const COMPANY = 0.035 * sparse;
const settled = new Uint8Array(count);
for (let i = 0; i < count; i++) {
  inTopic[data.topic[i]].push(i);
  inSource[data.source[i]].push(i);
}

for (const points of inTopic) {
  const some = points.length > 2500 ? points.slice(0, 2500) : points;
  for (const i of points) {
    let others = -1;
    for (const j of some) {
      if (Math.abs(X[i] - X[j]) < COMPANY && Math.abs(Y[i] - Y[j]) < COMPANY && ++others === 3) break;
    }
    settled[i] = others === 3 ? 1 : 0;
  }
}

const byId = (id) => document.getElementById(id);
const canvas = byId("map");
const pen = canvas.getContext("2d");
const tip = byId("tip");
const card = byId("card");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");
const number = (value) => value.toLocaleString("en");

// A point (x, y) of the map stands at (scale * x + left, top - scale * y) of the canvas.
const view = { scale: 1, left: 0, top: 0 };
const state = { colour: "topic", focus: -1, query: "", hit: null, hover: -1, chosen: -1, keyboard: false };
let width = 0, height = 0, home = 1, flight = 0, waiting = false;

// --- colours ---------------------------------------------------------------------------------------------------

const RAMP = ["#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6dcd59", "#b4de2c", "#e2d21a"];
const SOURCES = ["#4477AA", "#CC6677", "#117733", "#DDCC77", "#88CCEE", "#882255", "#44AA99", "#999933"];
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function mixed(colour, share) {
  const part = (start) => parseInt(colour.slice(start, start + 2), 16);
  const shade = (value) => Math.round(value + (255 - value) * share);
  return `rgb(${shade(part(1))},${shade(part(3))},${shade(part(5))})`;
}

// On a dark page dark colours are lightened.
function shown(colour) {
  if (!dark.matches) return colour;
  const light = (0.3 * parseInt(colour.slice(1, 3), 16) + 0.59 * parseInt(colour.slice(3, 5), 16)
    + 0.11 * parseInt(colour.slice(5, 7), 16)) / 255;
  return mixed(colour, light < 0.5 ? 0.75 * (0.5 - light) + 0.15 : 0);
}

function topicColour(t) {
  const topic = data.topics[t];
  if (state.colour === "score") {
    return topic.score === null ? style("--grey") : shown(RAMP[Math.min(9, Math.max(0, Math.round(topic.score) - 1))]);
  }
  return topic.excluded ? style("--grey") : shown(topic.colour);
}

const sourceColour = (s) => (s < SOURCES.length ? shown(SOURCES[s]) : style("--grey"));
const groupOf = (i) => (state.colour === "source" ? data.source[i] : data.topic[i]);
const groups = () => (state.colour === "source" ? inSource : inTopic);
const groupColour = (g) => (state.colour === "source" ? sourceColour(g) : topicColour(g));

// --- the view --------------------------------------------------------------------------------------------------

function resize() {
  const ratio = devicePixelRatio || 1;
  const box = canvas.getBoundingClientRect();
  const first = width === 0;
  const centre = [(width / 2 - view.left) / view.scale, (view.top - height / 2) / view.scale];
  const zoom = view.scale / home;
  width = box.width;
  height = box.height;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  home = target(null).scale;
  tip.hidden = true;
  if (first) Object.assign(view, target(null));
  else {
    view.scale = home * zoom;
    view.left = width / 2 - centre[0] * view.scale;
    view.top = height / 2 + centre[1] * view.scale;
  }
  draw();
}

// The view in which these points fill the canvas (all, where none are given).
function target(points) {
  let west = Infinity, east = -Infinity, south = Infinity, north = -Infinity;
  const add = (i) => {
    west = Math.min(west, X[i]); east = Math.max(east, X[i]); south = Math.min(south, Y[i]); north = Math.max(north, Y[i]);
  };
  if (points) inner(points).forEach(add);
  else for (let i = 0; i < count; i++) add(i);
  if (west > east) [west, east, south, north] = [-1, 1, -1, 1];
  const margin = points ? 110 : 48;
  const fit = Math.min((width - 2 * margin) / Math.max(east - west, 1e-6), (height - 2 * margin) / Math.max(north - south, 1e-6));
  const scale = Math.max(20, points ? Math.min(fit, 8 * home) : fit);
  return { scale, left: width / 2 - (scale * (west + east)) / 2, top: height / 2 + (scale * (south + north)) / 2 };
}

// Of a group's points those about its middle: a few far away must not make the view as wide as the map.
function inner(points) {
  const middle = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
  const x = middle(points.map((i) => X[i])), y = middle(points.map((i) => Y[i]));
  const away = (i) => Math.hypot(X[i] - x, Y[i] - y);
  return [...points].sort((a, b) => away(a) - away(b)).slice(0, Math.max(1, Math.ceil(0.85 * points.length)));
}

function fly(to) {
  cancelAnimationFrame(flight);
  if (calm.matches) { Object.assign(view, to); draw(); return; }
  const from = { ...view }, began = performance.now();
  const step = (now) => {
    const t = Math.min(1, Math.max(0, (now - began) / 380)), ease = 1 - (1 - t) ** 3;
    view.scale = from.scale * (to.scale / from.scale) ** ease;
    // the centre moves evenly in the map's own measure
    const share = to.scale === from.scale ? ease : (view.scale - from.scale) / (to.scale - from.scale);
    const centre = (v) => [(width / 2 - v.left) / v.scale, (v.top - height / 2) / v.scale];
    const [a, b] = [centre(from), centre(to)];
    const along = to.scale === from.scale ? ease : (share * to.scale) / view.scale;
    view.left = width / 2 - (a[0] + (b[0] - a[0]) * along) * view.scale;
    view.top = height / 2 + (a[1] + (b[1] - a[1]) * along) * view.scale;
    render();
    if (t < 1) flight = requestAnimationFrame(step);
    else { Object.assign(view, to); draw(); }
  };
  flight = requestAnimationFrame(step);
}

function zoom(factor, x = width / 2, y = height / 2) {
  cancelAnimationFrame(flight);
  const scale = Math.min(60 * home, Math.max(0.5 * home, view.scale * factor));
  view.left = x - ((x - view.left) / view.scale) * scale;
  view.top = y - ((y - view.top) / view.scale) * scale;
  view.scale = scale;
  draw();
}

const acrossOf = (i) => view.scale * X[i] + view.left;
const downOf = (i) => view.top - view.scale * Y[i];

function nearest(x, y, reach) {
  let best = -1, least = reach * reach;
  for (let i = 0; i < count; i++) {
    if (!lit(i)) continue;
    const apart = (acrossOf(i) - x) ** 2 + (downOf(i) - y) ** 2;
    if (apart < least) { least = apart; best = i; }
  }
  return best;
}

// --- drawing ---------------------------------------------------------------------------------------------------

const lit = (i) => (state.focus < 0 || groupOf(i) === state.focus) && (!state.hit || state.hit[i] === 1);

function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; render(); });
}

function render() {
  const ink = style("--ink"), paper = style("--page");
  pen.clearRect(0, 0, width, height);
  const closeness = view.scale / home;
  const size = Math.min(7, (count > 3000 ? 1.9 : count > 800 ? 2.6 : 3.4) * closeness ** 0.35);
  const all = groups();
  const bright = [], dim = [];
  for (let g = 0; g < all.length; g++) {
    const points = all[g].filter(lit);
    bright.push(points);
    if (points.length < all[g].length) dim.push(...all[g].filter((i) => !lit(i)));
  }
  if (state.colour !== "source" && !state.hit) {
    const reach = Math.max(8, 0.02 * sparse * view.scale);
    for (let g = 0; g < all.length; g++) territory(bright[g].filter((i) => settled[i]), groupColour(g), reach);
  }
  dots(dim, style("--grey"), 0.75 * size, 0.4);
  for (let g = 0; g < all.length; g++) dots(bright[g], groupColour(g), size, 0.85);
  for (const i of [state.chosen, state.hover]) if (i >= 0) ring(i, size + 3, ink, paper);
  if (state.keyboard) crosshair(ink);
  labels(ink, paper);
  canvas.dataset.view = [view.scale, view.left, view.top].map((value) => value.toFixed(3)).join(" ");
}

function path(points, radius) {
  pen.beginPath();
  for (const i of points) {
    const x = acrossOf(i), y = downOf(i);
    if (x < -radius || y < -radius || x > width + radius || y > height + radius) continue;
    pen.moveTo(x + radius, y);
    pen.arc(x, y, radius, 0, 7);
  }
}

function dots(points, colour, radius, alpha) {
  path(points, radius);
  pen.globalAlpha = alpha;
  pen.fillStyle = colour;
  pen.fill();
  pen.globalAlpha = 1;
}

// A pale ground under a topic: the discs of its points in company, melted into one.
function territory(points, colour, radius) {
  path(points, radius);
  pen.globalAlpha = dark.matches ? 0.13 : 0.1;
  pen.fillStyle = colour;
  pen.fill();
  pen.globalAlpha = 1;
}

function ring(i, radius, ink, paper) {
  for (const [colour, line] of [[paper, 5], [ink, 2]]) {
    pen.beginPath();
    pen.arc(acrossOf(i), downOf(i), radius, 0, 7);
    pen.strokeStyle = colour;
    pen.lineWidth = line;
    pen.stroke();
  }
}

function crosshair(ink) {
  pen.beginPath();
  for (const [x, y] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    pen.moveTo(width / 2 + 5 * x, height / 2 + 5 * y);
    pen.lineTo(width / 2 + 14 * x, height / 2 + 14 * y);
  }
  pen.strokeStyle = ink;
  pen.lineWidth = 1.5;
  pen.stroke();
}

const lines = data.topics.map(({ name }) => {
  const short = name.length > 64 ? `${name.slice(0, 62)}…` : name;
  const words = short.split(/\s+/);
  if (short.length <= 18 || words.length < 2) return [short];
  let best = [short], least = Infinity;
  for (let cut = 1; cut < words.length; cut++) {
    const two = [words.slice(0, cut).join(" "), words.slice(cut).join(" ")];
    const long = Math.max(two[0].length, two[1].length);
    if (long < least) { least = long; best = two; }
  }
  return best;
});

// Names of topics, the largest first; one that would cover another moves a little or is left out until there is room.
function labels(ink, paper) {
  const taken = [], written = [];
  const soft = style("--soft");
  const order = data.topics.map((_, t) => t);
  if (state.colour !== "source" && state.focus >= 0) order.sort((a, b) => (b === state.focus) - (a === state.focus));
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineJoin = "round";
  pen.lineWidth = 4;
  const found = [];
  for (const t of order) {
    const faded = !inTopic[t].some(lit);
    if (faded) continue;
    const x = view.scale * places[t][0] + view.left, y = view.top - view.scale * places[t][1];
    if (x < 0 || y < 0 || x > width || y > height) continue;
    const size = t < 12 ? 14 : 12.5;
    const name = data.topics[t].name;
    if (written.some((other) => other.name === name && Math.hypot(other.x - x, other.y - y) < 140)) continue;
    pen.font = `600 ${size}px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif`;
    const wide = Math.max(...lines[t].map((line) => pen.measureText(line).width)), high = (size + 3) * lines[t].length;
    for (const shift of [0, -high * 0.7, high * 0.7, -high * 1.3, high * 1.3]) {
      const middle = Math.min(Math.max(x, wide / 2 + 6), width - wide / 2 - 6);
      const box = [middle - wide / 2 - 3, y + shift - high / 2 - 1, middle + wide / 2 + 3, y + shift + high / 2 + 1];
      if (box[1] < 4 || box[3] > height - 4) continue;
      if (taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) continue;
      taken.push(box);
      written.push({ name, x, y });
      found.push([t, middle, y + shift, size]);
      break;
    }
  }
  for (const [t, x, y, size] of found) {
    pen.font = `600 ${size}px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif`;
    lines[t].forEach((line, row) => {
      const at = y + (row - (lines[t].length - 1) / 2) * (size + 3);
      pen.strokeStyle = paper;
      pen.strokeText(line, x, at);
      pen.fillStyle = data.topics[t].excluded ? soft : ink;
      pen.fillText(line, x, at);
    });
  }
  canvas.dataset.labels = found.length;
}

// --- the panel -------------------------------------------------------------------------------------------------

function made(name, text, kind) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

// A line of the list: a group to focus on (a number), or a seed to open (null).
function entry(colour, name, aside, below, group, act) {
  const button = made("button");
  button.type = "button";
  if (group !== null) {
    button.dataset.group = group;
    button.setAttribute("aria-pressed", String(group === state.focus));
  }
  const swatch = made("i");
  swatch.style.background = colour;
  const words = made("span", name);
  if (below) words.append(made("small", below));
  button.append(swatch, words, made("small", aside));
  button.addEventListener("click", act);
  const item = made("li");
  item.append(button);
  return item;
}

function list() {
  const found = state.hit ? matches().slice(0, 60).map((i) =>
    entry(groupColour(groupOf(i)), data.title[i], "", data.topics[data.topic[i]].name, null, () => choose(i, true))) : legend();
  byId("list").replaceChildren(...found);
  byId("scale").hidden = state.colour !== "score";
  byId("ramp").replaceChildren(...RAMP.map((colour) => {
    const step = made("i");
    step.style.background = shown(colour);
    return step;
  }));
}

function legend() {
  if (state.colour === "source") {
    const order = data.sources.map((_, s) => s).sort((a, b) => inSource[b].length - inSource[a].length);
    return order.map((s) => entry(sourceColour(s), data.sources[s], number(inSource[s].length), "", s, () => focus(s)));
  }
  const order = data.topics.map((_, t) => t);
  const score = (t) => data.topics[t].score ?? -1;
  if (state.colour === "score") order.sort((a, b) => score(b) - score(a) || a - b);
  return order.map((t) => {
    const topic = data.topics[t];
    const value = state.colour === "score" ? (topic.score === null ? "–" : String(topic.score)) : number(topic.seeds);
    const below = topic.excluded ? `excluded: ${topic.excluded}` : "";
    return entry(topicColour(t), topic.name, value, below, t, () => focus(t));
  });
}

function focus(g) {
  state.focus = state.focus === g ? -1 : g;
  for (const button of byId("list").querySelectorAll("[data-group]")) {
    button.setAttribute("aria-pressed", String(button.dataset.group === String(state.focus)));
  }
  fly(target(state.focus < 0 ? null : groups()[g]));
}

function facts(i) {
  const topic = data.topics[data.topic[i]];
  const score = topic.score === null ? "" : ` · score ${topic.score}`;
  return `${topic.name}${score} · ${data.sources[data.source[i]]}${topic.excluded ? ` · excluded: ${topic.excluded}` : ""}`;
}

function choose(i, move) {
  state.chosen = i;
  card.hidden = i < 0;
  if (i >= 0) {
    card.querySelector("h2").textContent = data.title[i];
    card.querySelector(".facts").textContent = facts(i);
    card.querySelector(".text").textContent = data.text[i];
    card.querySelector("code").textContent = `cosmo tokens --seed ${data.id[i]}`;
    if (move) {
      const scale = Math.max(view.scale, 3 * home);
      fly({ scale, left: width / 2 - scale * X[i], top: height / 2 + scale * Y[i] });
    }
  }
  draw();
}

const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
let texts = null;

// The seeds found, those first in whose title every word stands.
function matches() {
  const words = state.query.split(/\s+/);
  const named = [], others = [];
  for (let i = 0; i < count; i++) {
    if (!state.hit[i]) continue;
    const title = plain(data.title[i]);
    (words.every((word) => title.includes(word)) ? named : others).push(i);
  }
  return [...named, ...others];
}

function search(query) {
  state.query = plain(query.trim());
  if (!state.query) state.hit = null;
  else {
    texts ??= Array.from({ length: count }, (_, i) => plain(`${data.title[i]} ${data.text[i]} ${data.topics[data.topic[i]].name}`));
    const words = state.query.split(/\s+/);
    state.hit = Uint8Array.from(texts, (text) => (words.every((word) => text.includes(word)) ? 1 : 0));
  }
  const found = state.hit ? matches().length : 0;
  byId("found").textContent = state.hit ? `${number(found)} of ${number(count)} seeds${found > 60 ? ", the first 60 below" : ""}` : "";
  list();
  draw();
}

// --- events ----------------------------------------------------------------------------------------------------

const held = new Map();
let moved = 0;

function hover(event) {
  const box = canvas.getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top;
  const i = nearest(x, y, 12);
  canvas.classList.toggle("over", i >= 0);
  tip.hidden = i < 0;
  if (i >= 0) {
    tip.querySelector("b").textContent = data.title[i];
    tip.querySelector("p").textContent = data.text[i];
    tip.querySelector("small").textContent = facts(i);
    const right = x + 18 + tip.offsetWidth > width, low = y + 18 + tip.offsetHeight > height;
    tip.style.transform = `translate(${Math.max(4, right ? x - 14 - tip.offsetWidth : x + 16)}px,${Math.max(4, low ? y - 14 - tip.offsetHeight : y + 16)}px)`;
  }
  if (i !== state.hover) { state.hover = i; draw(); }
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  held.set(event.pointerId, [event.clientX, event.clientY]);
  moved = held.size > 1 ? 99 : 0;
  state.keyboard = false;
});

canvas.addEventListener("pointermove", (event) => {
  const before = held.get(event.pointerId);
  if (!before) { hover(event); return; }
  const now = [event.clientX, event.clientY];
  moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
  if (moved < 4) return;
  cancelAnimationFrame(flight);
  tip.hidden = true;
  canvas.classList.add("held");
  const others = [...held].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
  held.set(event.pointerId, now);
  if (others.length) {
    const [other] = others, box = canvas.getBoundingClientRect();
    const apart = (at) => Math.max(1, Math.hypot(at[0] - other[0], at[1] - other[1]));
    zoom(apart(now) / apart(before), (now[0] + other[0]) / 2 - box.left, (now[1] + other[1]) / 2 - box.top);
    return;
  }
  view.left += now[0] - before[0];
  view.top += now[1] - before[1];
  draw();
});

function released(event) {
  if (!held.delete(event.pointerId)) return;
  canvas.classList.remove("held");
  if (event.type === "pointerup" && moved < 4) {
    hover(event);
    if (state.hover >= 0) choose(state.hover, false);
    else if (state.chosen >= 0) choose(-1, false);
    else clickedName(event);
  }
}

// A click beside all points is one on the name that is written there, or on nothing.
function clickedName(event) {
  const box = canvas.getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top;
  if (state.colour === "source" || state.hit) return;
  let best = -1, least = 45;
  places.forEach(([px, py], t) => {
    const apart = Math.hypot((view.scale * px + view.left - x) / 2, view.top - view.scale * py - y);
    if (apart < least) { least = apart; best = t; }
  });
  if (best >= 0 && best !== state.focus) focus(best);
  else if (state.focus >= 0) focus(state.focus);
}

canvas.addEventListener("pointerup", released);
canvas.addEventListener("pointercancel", released);
canvas.addEventListener("pointerleave", () => { tip.hidden = true; state.hover = -1; draw(); });
canvas.addEventListener("dblclick", (event) => {
  const box = canvas.getBoundingClientRect();
  zoom(2, event.clientX - box.left, event.clientY - box.top);
});
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const box = canvas.getBoundingClientRect();
  const step = event.deltaMode === 1 ? 33 * event.deltaY : event.deltaY;
  zoom(Math.exp(-Math.max(-400, Math.min(400, step)) / 500), event.clientX - box.left, event.clientY - box.top);
  hover(event);
}, { passive: false });

function showAll() {
  if (state.focus >= 0) focus(state.focus);
  else fly(target(null));
}

const keys = {
  ArrowLeft: () => { view.left += 60; }, ArrowRight: () => { view.left -= 60; },
  ArrowUp: () => { view.top += 60; }, ArrowDown: () => { view.top -= 60; },
  "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: showAll,
  Enter: () => choose(nearest(width / 2, height / 2, Infinity), false),
  " ": () => choose(nearest(width / 2, height / 2, Infinity), false),
};

canvas.addEventListener("keydown", (event) => {
  const act = keys[event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  cancelAnimationFrame(flight);
  state.keyboard = true;
  act();
  draw();
});
canvas.addEventListener("blur", () => { state.keyboard = false; draw(); });

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    if (state.chosen >= 0) choose(-1, false);
    else if (state.hit) { byId("search").value = ""; search(""); }
    else if (state.focus >= 0) showAll();
  } else if (event.key === "/" && document.activeElement !== byId("search")) {
    event.preventDefault();
    byId("search").focus();
  }
});

byId("search").addEventListener("input", (event) => search(event.target.value));
byId("search").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && state.hit) { const [first] = matches(); if (first !== undefined) choose(first, true); }
});
byId("close").addEventListener("click", () => { choose(-1, false); canvas.focus(); });
byId("in").addEventListener("click", () => zoom(1.5));
byId("out").addEventListener("click", () => zoom(1 / 1.5));
byId("all").addEventListener("click", showAll);
for (const choice of document.querySelectorAll("input[name=colour]")) {
  choice.addEventListener("change", () => {
    // topics stay in focus from topic to score; a source is none
    if ((state.colour === "source") !== (choice.value === "source")) state.focus = -1;
    state.colour = choice.value;
    list();
    draw();
  });
}
dark.addEventListener("change", () => { list(); draw(); });
new ResizeObserver(resize).observe(canvas);

byId("count").textContent = `${number(data.topics.length)} topics, ${number(data.seeds)} seeds`
  + (count < data.seeds ? `, ${number(count)} of them shown` : "");
list();
