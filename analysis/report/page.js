"use strict";
// Draws one example under one rule. Every text goes in as textContent, so it is shown and never interpreted.
const groups = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const FIRST_LETTER = 0x100; // as in explorer.py: a layer, or a percentage, is one letter
const LINK = "#text/"; // as in explorer.py: #text/GROUP/RULE/EXAMPLE, each part percent-encoded
const ENDS = new Set(["</s>", "<pad>"]);
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
const layerOf = (letter) => letter.charCodeAt(0) - FIRST_LETTER;

function textOf(group, text) {
  const whole = group.pieces
    ? text.map((place) => group.pieces[place]).filter((piece) => !ENDS.has(piece)).map(plain).join("").trim()
    : text;
  return whole || "(no text)";
}

function describe(group, piece, layer, confidence) {
  const sure = confidence === null ? "no confidence was asked" : `confidence ${confidence.toFixed(2)}`;
  return `${piece.trim() || "space"}: layer ${layer} of ${group.layers}, ${sure}`;
}

// How many tokens the two texts begin with in common.
function shared(text, other) {
  const parted = text.findIndex((place, position) => place !== other[position]);
  return parted < 0 ? text.length : parted;
}

function tokens(group, text, layers, confidences, agreed) {
  const box = at("early");
  box.replaceChildren();
  if (!group.pieces) element("p", textOf(group, text), box).setAttribute("role", "presentation");
  [...layers].forEach((letter, position) => {
    const layer = layerOf(letter);
    const sure = confidences[position] === "-" ? null : layerOf(confidences[position]) / 100;
    const piece = group.pieces ? plain(group.pieces[text[position]]) : `token ${position + 1}`;
    if (group.pieces && piece.startsWith(" ") && position) box.append(" ");
    const token = element("span", group.pieces ? piece.trim() || "\u00a0" : layer, box, group.pieces ? "" : "box");
    if (position === agreed) token.classList.add("parted");
    [token.style.backgroundColor, token.style.color] = group.colours[layer - 1];
    token.setAttribute("role", "option");
    token.setAttribute("aria-selected", "false");
    token.setAttribute("aria-label", describe(group, piece, layer, sure));
    token.title = token.getAttribute("aria-label");
    token.tabIndex = position ? -1 : 0;
  });
}

function speedup(rule) {
  if (!rule.speedup) return "not timed";
  const [ratio, low, high] = rule.speedup.map((value) => value?.toFixed(2));
  return low && high && low !== high ? `${ratio} (${low}\u2013${high})` : ratio;
}

function numbers(group, rule, drawn, agreed) {
  const [, layers, , distance, score, lost] = drawn;
  const mean = [...layers].reduce((sum, letter) => sum + layerOf(letter), 0) / (layers.length || 1);
  const list = at("numbers");
  list.replaceChildren();
  const rows = [
    ["mean layers", `${mean.toFixed(2)} of ${group.layers}`],
    ["tokens", layers.length],
    ...(agreed === null ? [] : [["as the full model writes", agreed === layers.length ? "all tokens" : `the first ${agreed}`]]),
    [`D, distance to the full text (1 \u2212 ${group.similarity})`, distance.toFixed(3)],
    [`score (${group.similarity}, 0 to 1)`, score.toFixed(3)],
    ...(lost === null ? [] : [["\u0394R, score lost to the full model", lost.toFixed(3)]]),
    ["speedup of this rule (95% interval)", speedup(rule)],
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
  at("drawn").hidden = !example || !rule;
  at("lost").textContent = "";
  if (!example || !rule) return;
  const drawn = example.rules[picked.rule];
  const full = group.full === null ? null : example.rules[group.full];
  at("early-title").textContent = `Early exit: ${rule.label}`;
  at("token").textContent = "Point at a token, or move with the arrow keys, to see its layer and confidence.";
  if (drawn) {
    const text = example.texts[drawn[0]];
    const agreed = full && group.pieces ? shared(text, example.texts[full[0]]) : null;
    tokens(group, text, drawn[1], drawn[2], agreed ?? Infinity);
    numbers(group, rule, drawn, agreed);
  } else {
    at("early").textContent = "This example was not decoded under this rule.";
    at("numbers").replaceChildren();
  }
  at("full").textContent = full ? textOf(group, example.texts[full[0]]) : "The records hold no full model.";
  at("references").replaceChildren();
  for (const reference of example.references) element("p", reference || "(no text)", at("references")).dir = "auto";
  at("source").textContent = example.source;
  at("rule").value = picked.rule;
  at("example").value = picked.example;
  at("previous").disabled = picked.example === 0;
  at("next").disabled = picked.example === group.examples.length - 1;
  at("link").href = LINK + [group.group, rule.name, example.id].map(encodeURIComponent).join("/");
}

function enter(place) {
  const group = groups[place];
  picked.group = place;
  picked.rule = group.start;
  // Begin where there is something to see: the first text with the most different exit layers.
  const variety = group.examples.map((example) => new Set(example.rules[group.start]?.[1]).size);
  picked.example = Math.max(0, variety.indexOf(Math.max(...variety)));
  at("group").value = place;
  options(at("rule"), group.rules.map((rule) => rule.label), picked.rule);
  const label = (example) => `${example.id}: ${example.references[0] ?? example.source}`.slice(0, 90);
  options(at("example"), group.examples.map(label), picked.example);
  at("shown").textContent = group.examples.length < group.n
    ? `${group.examples.length} of ${group.n} examples are in this page, to keep it small; all are in generations.parquet.`
    : `${group.n} examples under ${group.rules.length} rules.`;
  at("legend").replaceChildren();
  group.colours.forEach(([back, front], layer) => {
    const swatch = element("span", layer + 1, at("legend"));
    [swatch.style.backgroundColor, swatch.style.color] = [back, front];
  });
}

// Goes where the address says; a part that this page does not hold is said and not guessed.
function follow() {
  if (!location.hash.startsWith(LINK)) return;
  let names = [];
  try {
    names = location.hash.slice(LINK.length).split("/").map(decodeURIComponent);
  } catch { /* not one of our addresses */ }
  const group = groups.findIndex((one) => one.group === names[0]);
  const rule = groups[group]?.rules.findIndex((one) => one.name === names[1]) ?? -1;
  const example = names.length < 3 ? 0 : groups[group]?.examples.findIndex((one) => one.id === names[2]) ?? -1;
  if (rule < 0 || example < 0) {
    at("lost").textContent = "This page does not hold the text or the rule that the link asks for.";
  } else {
    if (group !== picked.group) enter(group);
    picked.rule = rule;
    if (names.length > 2) picked.example = example;
    draw();
  }
  at("texts").scrollIntoView();
  at("texts").focus({ preventScroll: true });
}

function step(by) {
  const last = groups[picked.group].examples.length - 1;
  picked.example = Math.min(last, Math.max(0, picked.example + by));
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
  const right = getComputedStyle(at("early")).direction === "rtl" ? -1 : 1;
  const there = {
    ArrowRight: here + right, ArrowLeft: here - right, ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1,
  }[event.key];
  if (there === undefined) return;
  event.preventDefault();
  all[Math.min(all.length - 1, Math.max(0, there))]?.focus();
});
at("group").addEventListener("change", (event) => { enter(Number(event.target.value)); draw(); });
at("rule").addEventListener("change", (event) => { picked.rule = Number(event.target.value); draw(); });
at("example").addEventListener("change", (event) => { picked.example = Number(event.target.value); draw(); });
at("previous").addEventListener("click", () => step(-1));
at("next").addEventListener("click", () => step(1));
addEventListener("hashchange", follow);

options(at("group"), groups.map((group) => group.group), 0);
at("group-control").hidden = groups.length < 2;
at("explorer").hidden = false;
enter(0);
draw();
follow();
