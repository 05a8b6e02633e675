"use strict";
// The page of the lineage. The address after # says what is shown, so that going back works and a view can be sent to
// somebody. Texts are written as text alone, never as HTML.

const main = document.getElementById("main");
const question = document.getElementById("question");
const number = (value) => value.toLocaleString("en");
const NAMES = {
  source: "Source", topic: "Topic", template: "Template", audience: "Audience", format: "Format", licence: "Licence",
  model: "Model", cluster_id: "Cluster", template_version: "Template version", model_revision: "Model revision",
  sampling: "Sampling", seed_id: "Seed", prompt_id: "Prompt", doc_id: "Document",
};
const NOTHING = { source: "no source", topic: "no topic" };
let asked = 0;

// --- writing ---------------------------------------------------------------------------------------------------

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const part = encodeURIComponent;
const link = (href, text, className = "") => make("a", { href, className }, text);
const idLink = (key, id) => link(`#/${key.replace("_id", "")}/${id}`, id, "id");
const shown = (key, value) => (value === null ? NOTHING[key] || `no ${NAMES[key].toLowerCase()}` : String(value));
const facet = (key, value) => link(value === null ? `#/none/${key}` : `#/by/${key}/${part(value)}`, shown(key, value));
const place = (shard, token, text) => link(`#/token/${part(shard)}/${token}`, text ?? `${shard}:${number(token)}`);

function facts(rows) {
  const list = make("dl");
  for (const [name, value] of rows) {
    if (value === null || value === undefined || value === "") continue;
    list.append(make("dt", {}, name), make("dd", {}, value));
  }
  return list;
}

function marked(text, range) {
  // Characters of Python are code points; a string of this page counts some of them twice.
  const box = make("div", { className: "text", tabIndex: 0, dir: "auto" });
  if (!range || range[0] >= range[1]) {
    box.append(text);
    return box;
  }
  const points = Array.from(text);
  const mark = make("mark", {}, points.slice(range[0], range[1]).join(""));
  box.append(points.slice(0, range[0]).join(""), mark, points.slice(range[1]).join(""));
  requestAnimationFrame(() => { box.scrollTop = mark.offsetTop - box.offsetTop - 60; });
  return box;
}

function table(headers, rows) {
  const cell = (tag, value) =>
    make(tag, { className: typeof value === "number" ? "n" : "" }, typeof value === "number" ? number(value) : value);
  const numeric = (column) => rows.length > 0 && typeof rows[0][column] === "number";
  const head = make("tr", {}, ...headers.map((name, column) => make("th", { className: numeric(column) ? "n" : "" }, name)));
  const body = rows.map((row) => make("tr", {}, ...row.map((value) => cell("td", value))));
  return make("div", { className: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

function tiles(figures) {
  const box = make("div", { className: "tiles" });
  for (const [name, value] of figures) box.append(make("div", { className: "tile" }, make("span", {}, name), make("b", {}, number(value))));
  return box;
}

function bars(key, values, count) {
  const most = Math.max(1, ...values.map(([, tokens]) => tokens));
  const items = values.map(([value, tokens]) =>
    make("li", {}, make("progress", { max: most, value: tokens, ariaHidden: "true" }), facet(key, value), make("small", {}, number(tokens))));
  const more = count > values.length ? make("small", {}, `and ${number(count - values.length)} more`) : null;
  return make("section", { className: "card" }, make("h4", {}, NAMES[key]), make("ol", { className: "bars" }, ...items), more);
}

// --- asking ----------------------------------------------------------------------------------------------------

async function api(path, parameters) {
  const address = `/api/${path}?${new URLSearchParams(parameters)}`;
  const long = address.length > 4000;
  const body = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(parameters) };
  const answer = await (long ? fetch(`/api/${path}`, body) : fetch(address));
  const value = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(value.error), { remedy: value.remedy });
  return value;
}

// --- views -----------------------------------------------------------------------------------------------------

async function home() {
  const { figures, shards, facets } = await api("overview", {});
  const grids = Object.entries(facets).map(([key, { values, count }]) =>
    bars(key, values.map(({ value, tokens }) => [value, tokens]), count));
  return [
    tiles([["Tokens", figures.tokens], ["Documents", figures.documents], ["Prompts", figures.prompts], ["Seeds", figures.seeds], ["Shards", shards]]),
    make("p", { className: "lead" }, "Every token of the corpus leads to its document, prompt and seed, or to the file that it was read from. Paste what you have, or start from what the corpus is made of; figures are tokens."),
    make("div", { className: "grids" }, ...grids),
  ];
}

function chain(found, range) {
  const { span, document: doc, prompt, seed, copies } = found;
  const card = (title, list, text) => make("section", { className: "card" }, make("h4", {}, title), list, text);
  const tokens = span.end - span.start;
  const steps = make("div", { className: "chain" },
    card("Token", facts([
      ["Place", `${found.shard}:${number(found.token)}`], ["Id in the vocabulary", number(found.token_id)],
      ["Span of its document", `${number(span.start)} to ${number(span.end)}, ${number(tokens)} tokens`],
      ["Copy", copies.length > 1 ? `${span.copy + 1} of ${copies.length}` : ""],
      ["Span, decoded", found.token_text === doc.text ? "equal to the document" : "not equal to the document"],
    ])),
    ...(prompt ? [] : [card("Real document", facts([
      ["Id", idLink("doc_id", span.doc_id)], ["Source", facet("source", span.source)], ["Read from", doc.place],
      ["Native id", doc.native_id], ["Licence", facet("licence", span.licence)], ["Attribution", doc.attribution],
      ["Title", doc.title], ["From", doc.url],
    ]), marked(doc.text, range))]),
    ...(prompt ? [card("Document", facts([
      ["Id", idLink("doc_id", span.doc_id)], ["Model", facet("model", span.model)], ["Revision", span.model_revision],
      ["Sampling", `${span.sampling.slice(0, 12)}, seed ${doc.request_seed}, ended: ${doc.finish_reason}`],
      ["Bucket", span.bucket],
    ]), marked(doc.text, range)),
    card("Prompt", facts([
      ["Id", idLink("prompt_id", span.prompt_id)],
      ["Template", make("span", {}, facet("template", span.template), `, version ${span.template_version}`)],
      ["Form", make("span", {}, facet("format", span.format), " for ", facet("audience", span.audience))],
    ]), marked(prompt.prompt)),
    card("Seed", facts([
      ["Id", idLink("seed_id", span.seed_id)],
      ["Source", make("span", {}, facet("source", span.source), `, ${seed.native_id}`)],
      ["Licence", facet("licence", span.licence)], ["Attribution", seed.attribution], ["Title", seed.title],
      ["Topic", make("span", {}, facet("topic", span.topic), ` (cluster ${span.cluster_id})`)],
      ["From", seed.url],
    ]), marked(seed.text))] : []));
  const versions = Object.entries(found.manifests).map(([asset, version]) =>
    [asset, make("span", { className: "id" }, version), make("span", { className: "id" }, found.runs[asset] || "–")]);
  const places = copies.map((copy) => [place(copy.shard, copy.start), copy.end - copy.start, copy.copy + 1]);
  return [
    steps,
    copies.length > 1 ? make("h3", {}, "Copies of the document") : null,
    copies.length > 1 ? table(["Place", "Tokens", "Copy"], places) : null,
    make("details", {}, make("summary", {}, "Versions and runs"), table(["Asset", "Version", "Dagster run"], versions)),
    make("p", {}, make("code", {}, `cosmo trace --shard ${found.shard} --token ${found.token}`)),
  ];
}

async function token(shard, position) {
  const found = await api("trace", { shard, token: position });
  return chain(found, found.characters);
}

async function doc(id, start, end) {
  const found = await api("trace", { doc: id });
  return chain(found, start === undefined ? null : [Number(start), Number(end)]);
}

function spansOf(answer, keys, command) {
  const { totals, spans, start } = answer;
  const rows = spans.map((span) =>
    [place(span.shard, span.start), span.end - span.start, span.copy + 1, idLink("doc_id", span.doc_id), span.prompt_id ? idLink("prompt_id", span.prompt_id) : "–"]);
  const turn = (to, text, off) => make("button", { type: "button", disabled: off, onclick: () => { location.hash = keys(to); } }, text);
  const last = Math.min(start + spans.length, totals.spans);
  const pages = totals.spans > spans.length || start > 0
    ? make("div", { className: "pages" }, turn(Math.max(0, start - 50), "Before", start === 0), turn(start + 50, "Further", last >= totals.spans),
      make("small", {}, `${number(start + 1)} to ${number(last)} of ${number(totals.spans)}`))
    : null;
  return [
    make("h3", {}, "Where its tokens stand"), table(["Place", "Tokens", "Copy", "Document", "Prompt"], rows), pages,
    make("p", {}, make("code", {}, command)),
  ];
}

const sums = ({ totals }) => tiles([["Tokens", totals.tokens], ["Documents", totals.documents], ["Spans", totals.spans]]);

async function prompt(id, start = "0") {
  const [{ row }, answer] = await Promise.all([api("prompt", { id }), api("tokens", { prompt_id: id, start })]);
  return [
    make("h2", {}, "Prompt"), make("p", { className: "lead id" }, id), sums(answer),
    make("section", { className: "card" }, facts([
      ["Seed", idLink("seed_id", row.seed_id)], ["Template", make("span", {}, facet("template", row.template), `, version ${row.template_version}`)],
      ["Form", make("span", {}, facet("format", row.format), " for ", facet("audience", row.audience))],
      ["Topic", facet("topic", row.topic)], ["Source", facet("source", row.source)],
    ]), marked(row.prompt)),
    ...spansOf(answer, (to) => `#/prompt/${id}/${to}`, `cosmo tokens --prompt ${id}`),
  ];
}

async function seed(id, start = "0") {
  const [{ row, prompts, count }, answer] = await Promise.all([api("seed", { id }), api("tokens", { seed_id: id, start })]);
  return [
    make("h2", {}, row.title || "Seed"), make("p", { className: "lead id" }, id), sums(answer),
    make("section", { className: "card" }, facts([
      ["Source", make("span", {}, facet("source", row.source), `, ${row.native_id}`)], ["Licence", facet("licence", row.licence)],
      ["Attribution", row.attribution], ["From", row.url], ["Language", row.language],
    ]), marked(row.text)),
    make("h3", {}, `Its prompts (${number(count)})`),
    table(["Prompt", "Template", "Format", "Audience", "Documents", "Tokens"], prompts.map((one) => [
      idLink("prompt_id", one.prompt_id), facet("template", one.template), facet("format", one.format),
      facet("audience", one.audience), one.documents, one.tokens])),
    ...spansOf(answer, (to) => `#/seed/${id}/${to}`, `cosmo tokens --seed ${id}`),
  ];
}

async function by(key, value, start = "0") {
  const answer = await api("tokens", value === null ? { none: key, start } : { [key]: value, start });
  const route = (to) => (value === null ? `#/none/${key}/${to}` : `#/by/${key}/${part(value)}/${to}`);
  const option = { cluster_id: "cluster", source: "source", topic: "topic", template: "template", model: "model", licence: "licence" }[key];
  const grids = Object.entries(answer.parts).filter(([, values]) => values.length > 1).map(([name, values]) => bars(name, values, values.length));
  return [
    make("div", { className: "eyebrow" }, NAMES[key] || key), make("h2", {}, shown(key, value)), sums(answer),
    make("div", { className: "grids" }, ...grids),
    ...spansOf(answer, route, option && value !== null ? `cosmo tokens --${option} ${JSON.stringify(value)}` : ""),
  ];
}

async function ask(text) {
  const answer = await api("ask", { text });
  if (answer.ids) {
    const all = Object.entries(answer.ids).flatMap(([key, { names }]) => names.map((name) => [key, name]));
    if (all.length === 1) return go(`#/${all[0][0].replace("_id", "")}/${all[0][1]}`);
    const counts = Object.entries(answer.ids).filter(([, { count }]) => count);
    return [
      make("h2", {}, "Ids that begin so"),
      make("p", { className: "lead" }, counts.map(([key, { count }]) => `${NAMES[key]}: ${number(count)}`).join(" · ")),
      table(["What", "Id"], all.map(([key, name]) => [NAMES[key], idLink(key, name)])),
    ];
  }
  const { matches, says } = answer.found;
  const inside = matches.filter((match) => match.spans.length);
  const at = (match) => `#/doc/${match.doc_id}/${match.start}/${match.end}`;
  if (inside.length === 1) {
    const { doc_id: id, start, end } = inside[0];
    return [make("p", { className: "lead says" }, says), ...(await doc(id, start, end))];
  }
  const rows = matches.map((match) =>
    [match.spans.length ? link(at(match), match.doc_id, "id") : make("span", { className: "id" }, match.doc_id), match.spans.length]);
  return [make("h2", {}, "Documents that hold it"), make("p", { className: "lead says" }, says),
    rows.length ? table(["Document", "Copies in the corpus"], rows) : null];
}

const VIEWS = {
  "": home, token, doc, prompt, seed, by, ask, none: (key, start) => by(key, null, start),
};

// --- going about -----------------------------------------------------------------------------------------------

function go(hash) {
  history.replaceState(null, "", hash);
  return show();
}

async function show() {
  const turn = ++asked;
  const [view, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  main.setAttribute("aria-busy", "true");
  let children;
  try {
    children = await (VIEWS[view] || home)(...rest);
  } catch (error) {
    children = [make("div", { className: "warn", role: "alert" }, make("b", {}, error.message), error.remedy || "")];
  }
  if (turn !== asked || !children) return;
  main.replaceChildren(...children.filter((child) => child !== null));
  main.removeAttribute("aria-busy");
  main.dataset.shown = location.hash || "#/";
  scrollTo(0, 0);
}

document.getElementById("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = question.value.trim();
  const token = text.match(/^(\d+|\S+\.ds)\s*[:\s]\s*(\d[\d,]*)$/);
  if (!text) location.hash = "#/";
  else if (token) location.hash = `#/token/${part(token[1])}/${token[2].replaceAll(",", "")}`;
  else location.hash = `#/ask/${part(text)}`;
});
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    document.getElementById("ask").requestSubmit();
  }
});
addEventListener("hashchange", show);
show();
