"use strict";
// Draws one example under one rule. Every text goes in as textContent, so it is shown and never interpreted.
const groups = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const FIRST_LETTER = 0x100; // as in explorer.py: a layer, or a percentage, is one letter
const picked = { group: 0, rule: 0, example: 0 };

function element(tag, text, parent, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  parent.append(made);
  return made;
}

function options(select, labels, chosen) {
  select.replaceChildren(...labels.map((label, value) => new Option(label, value)));
  select.value = chosen;
}

const plain = (piece) => piece.replaceAll("\u2581", " ");

function textOf(group, text) {
  if (!group.pieces) return text;
  const ends = new Set(["</s>", "<pad>"]);
  return text.map((place) => group.pieces[place]).filter((piece) => !ends.has(piece)).map(plain).join("").trim();
}

function describe(group, piece, layer, confidence) {
  const sure = confidence === null ? "no confidence was asked" : `confidence ${confidence.toFixed(2)}`;
  return `${piece.trim() || "space"}: layer ${layer} of ${group.layers}, ${sure}`;
}

function tokens(group, example, drawn) {
  const box = at("early");
  box.replaceChildren();
  const [place, layers, confidences] = drawn;
  const text = example.texts[place];
  if (!group.pieces) element("p", text, box).setAttribute("role", "presentation");
  [...layers].forEach((letter, position) => {
    const layer = letter.charCodeAt(0) - FIRST_LETTER;
    const sure = confidences[position] === "-" ? null : (confidences.charCodeAt(position) - FIRST_LETTER) / 100;
    const piece = group.pieces ? plain(group.pieces[text[position]]) : `token ${position + 1}`;
    if (group.pieces && piece.startsWith(" ") && position) box.append(" ");
    const token = element("span", group.pieces ? piece.trim() || "\u00a0" : layer, box, group.pieces ? "" : "box");
    [token.style.backgroundColor, token.style.color] = group.colours[layer - 1];
    token.setAttribute("role", "option");
    token.setAttribute("aria-selected", "false");
    token.setAttribute("aria-label", describe(group, piece, layer, sure));
    token.title = token.getAttribute("aria-label");
    token.tabIndex = position ? -1 : 0;
  });
}

function numbers(group, rule, drawn, full) {
  const [, layers, , loss, score] = drawn;
  const mean = [...layers].reduce((sum, letter) => sum + letter.charCodeAt(0) - FIRST_LETTER, 0) / (layers.length || 1);
  const list = at("numbers");
  list.replaceChildren();
  const rows = [
    ["mean layers", `${mean.toFixed(2)} of ${group.layers}`],
    ["tokens", layers.length],
    ["D, distance to the full text", loss.toFixed(3)],
    ["score", score.toFixed(3)],
    ...(full ? [["\u0394R, score lost", (full[4] - score).toFixed(3)]] : []),
    ["speedup of this rule", rule.speedup === null ? "not timed" : `${rule.speedup.toFixed(2)} times`],
  ];
  for (const [name, value] of rows) {
    const pair = element("div", "", list);
    element("dt", name, pair);
    element("dd", value, pair);
  }
}

function draw() {
  const group = groups[picked.group];
  const example = group.examples[picked.example];
  const rule = group.rules[picked.rule];
  if (!example || !rule) return;
  const drawn = example.rules[picked.rule];
  const fullAt = group.rules.findIndex((one) => one.label === "full model");
  const full = fullAt < 0 ? null : example.rules[fullAt];
  at("early-title").textContent = `Early exit: ${rule.label}`;
  at("token").textContent = "Point at a token, or move with the arrow keys, to see its layer and confidence.";
  if (drawn) {
    tokens(group, example, drawn);
    numbers(group, rule, drawn, full);
  } else {
    at("early").textContent = "This example was not decoded under this rule.";
    at("numbers").replaceChildren();
  }
  at("full").textContent = full ? textOf(group, example.texts[full[0]]) : "The records hold no full model.";
  at("references").replaceChildren();
  for (const reference of example.references) element("p", reference, at("references"));
  at("source").textContent = example.source;
  at("previous").disabled = picked.example === 0;
  at("next").disabled = picked.example === group.examples.length - 1;
}

function enter() {
  const group = groups[picked.group];
  picked.example = 0;
  picked.rule = group.start;
  options(at("rule"), group.rules.map((rule) => rule.label), picked.rule);
  const label = (example) => `${example.id}: ${example.references[0] ?? example.source}`.slice(0, 90);
  options(at("example"), group.examples.map(label), 0);
  at("shown").textContent = group.examples.length < group.n
    ? `${group.examples.length} of ${group.n} examples are in this page, to keep it small; all are in generations.parquet.`
    : `${group.n} examples under ${group.rules.length} rules.`;
  at("legend").replaceChildren();
  group.colours.forEach(([back, front], layer) => {
    const swatch = element("span", layer + 1, at("legend"));
    [swatch.style.backgroundColor, swatch.style.color] = [back, front];
  });
  draw();
}

function step(by) {
  const last = groups[picked.group].examples.length - 1;
  picked.example = Math.min(last, Math.max(0, picked.example + by));
  at("example").value = picked.example;
  draw();
}

function tell(event) {
  const token = event.target.closest("[role=option]");
  if (token) at("token").textContent = token.getAttribute("aria-label");
  return token;
}

at("early").addEventListener("pointerover", tell);
at("early").addEventListener("focusin", (event) => {
  for (const one of at("early").querySelectorAll("[role=option]")) {
    one.tabIndex = -1;
    one.setAttribute("aria-selected", "false");
  }
  const token = tell(event);
  if (token) token.tabIndex = 0, token.setAttribute("aria-selected", "true");
});
at("early").addEventListener("keydown", (event) => {
  const all = [...at("early").querySelectorAll("[role=option]")];
  const here = all.indexOf(document.activeElement);
  const there = { ArrowRight: here + 1, ArrowLeft: here - 1, ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
  if (there === undefined) return;
  event.preventDefault();
  all[Math.min(all.length - 1, Math.max(0, there))]?.focus();
});
at("group").addEventListener("change", (event) => { picked.group = Number(event.target.value); enter(); });
at("rule").addEventListener("change", (event) => { picked.rule = Number(event.target.value); draw(); });
at("example").addEventListener("change", (event) => { picked.example = Number(event.target.value); draw(); });
at("previous").addEventListener("click", () => step(-1));
at("next").addEventListener("click", () => step(1));

options(at("group"), groups.map((group) => group.group), 0);
at("group-control").hidden = groups.length < 2;
if (groups.length) enter();
