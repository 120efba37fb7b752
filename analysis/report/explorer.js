// The explorer: one example under two rules, token by token.
const groups = data.groups;
const FIRST_LETTER = 0x100; // as in explorer.py: a layer, or a percentage, is one letter
const LINK = "#text/"; // as in explorer.py: #text/GROUP/RULE/EXAMPLE, each part percent-encoded
const ENDS = new Set(["</s>", "<pad>"]);
const picked = { group: 0, rule: 0, beside: null, example: 0 };
let listed = []; // places of the examples that search and order leave, in that order

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

function describe(group, piece, layer, confidence, other) {
  const sure = confidence === null ? "no confidence was asked" : `confidence ${confidence.toFixed(2)}`;
  const differs = other === undefined || other === piece ? "" : `; the full model's token here: ${other.trim() || "none"}`;
  return `${piece.trim() || "space"}: layer ${layer} of ${group.layers}, ${sure}${differs}`;
}

// How many tokens the two texts begin with in common.
function shared(text, other) {
  const parted = text.findIndex((place, position) => place !== other[position]);
  return parted < 0 ? text.length : parted;
}

// A text with each token on its layer's colour. `full`: the full model's text, to compare with; `ends`: show </s> too.
function tokens(box, group, [place, layers, confidences], example, full, ends) {
  const text = example.texts[place];
  const agreed = full && group.pieces ? shared(text, full) : Infinity;
  box.replaceChildren();
  if (!group.pieces) element("p", textOf(group, text), box).setAttribute("role", "presentation");
  [...layers].forEach((letter, position) => {
    if (group.pieces && !ends && ENDS.has(group.pieces[text[position]])) return;
    const layer = layerOf(letter);
    const sure = confidences[position] === "-" ? null : layerOf(confidences[position]) / 100;
    const piece = group.pieces ? plain(group.pieces[text[position]]) : `token ${position + 1}`;
    const other = full && group.pieces ? plain(group.pieces[full[position]] ?? "") : undefined;
    if (group.pieces && piece.startsWith(" ") && position) box.append(" ");
    const token = element("span", group.pieces ? piece.trim() || "\u00a0" : layer, box, group.pieces ? "" : "box");
    if (position === agreed) token.classList.add("parted");
    [token.style.backgroundColor, token.style.color] = group.colours[layer - 1];
    token.setAttribute("role", "option");
    token.setAttribute("aria-selected", "false");
    token.setAttribute("aria-label", describe(group, piece, layer, sure, other));
    token.title = token.getAttribute("aria-label");
    token.tabIndex = box.querySelector("[tabindex='0']") ? -1 : 0;
  });
  if (!box.childNodes.length) {
    const none = element("span", "(no text)", box);
    none.setAttribute("role", "option");
    none.setAttribute("aria-selected", "false");
  }
  return agreed;
}

// What it is called, and its value.
function speedup(rule) {
  const [ratio, low, high] = (rule.speedup ?? []).map((value) => value?.toFixed(2));
  const sure = low && high && low !== high;
  return [`speedup of this rule${sure ? " (95% interval)" : ""}`, sure ? `${ratio} (${low}\u2013${high})` : ratio ?? "not timed"];
}

function numbers(group, rule, drawn, agreed) {
  const [, layers, , distance, score, lost] = drawn;
  const mean = [...layers].reduce((sum, letter) => sum + layerOf(letter), 0) / (layers.length || 1);
  const list = at("numbers");
  list.replaceChildren();
  const rows = [
    ["mean layers", `${mean.toFixed(2)} of ${group.layers}`],
    ["tokens", layers.length],
    ...(agreed === Infinity ? [] : [["as the full model writes", agreed === layers.length ? "all tokens" : `the first ${agreed}`]]),
    [`D, distance to the full text (1 \u2212 ${group.similarity})`, distance.toFixed(3)],
    [`score (${group.similarity}, 0 to 100)`, (100 * score).toFixed(1)],
    ...(lost === null ? [] : [["\u0394R, score lost to the full model (0 to 1)", lost.toFixed(3)]]),
    speedup(rule),
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
  const fullText = full ? example.texts[full[0]] : undefined;
  if (drawn) {
    numbers(group, rule, drawn, tokens(at("early"), group, drawn, example, fullText, true));
  } else {
    at("early").textContent = "This example was not decoded under this rule.";
    at("numbers").replaceChildren();
  }
  const beside = picked.beside === null ? null : example.rules[picked.beside];
  if (beside) tokens(at("full"), group, beside, example, fullText, false);
  else at("full").textContent = "The records hold no such text.";
  at("references").replaceChildren();
  for (const reference of example.references) element("p", reference || "(no text)", at("references")).dir = "auto";
  at("source").textContent = example.source;
  at("rule").value = picked.rule;
  at("example").value = picked.example;
  at("previous").disabled = listed.indexOf(picked.example) <= 0;
  at("next").disabled = listed.indexOf(picked.example) === listed.length - 1;
  at("link").href = LINK + [group.group, rule.name, example.id].map(encodeURIComponent).join("/");
  if (at("order").value !== "data") list();
}

// The address says what is shown, so that it can be sent; going back leaves the page, not one text after another.
function redraw() {
  draw();
  try {
    history.replaceState(null, "", at("link").hash);
  } catch { /* a page inside another may not */ }
}

function list() {
  const group = groups[picked.group];
  const words = at("search").value.trim().toLocaleLowerCase();
  const holds = (example) => [example.id, example.source, ...example.references, ...example.texts.map((text) => textOf(group, text))]
    .some((text) => text.toLocaleLowerCase().includes(words));
  const mean = (layers) => [...layers].reduce((sum, letter) => sum + layerOf(letter), 0) / (layers.length || 1);
  const key = {
    loss: (drawn) => -drawn[3], lost: (drawn) => -drawn[5], fewest: (drawn) => mean(drawn[1]), most: (drawn) => -mean(drawn[1]),
  }[at("order").value];
  const known = (place) => group.examples[place].rules[picked.rule];
  listed = [...group.examples.keys()].filter((place) => !words || holds(group.examples[place]));
  if (key) {
    const keys = new Map(listed.map((place) => [place, known(place) ? key(known(place)) : Infinity]));
    listed.sort((a, b) => keys.get(a) - keys.get(b) || a - b);
  }
  const label = (place) => `${group.examples[place].id}: ${group.examples[place].references[0] ?? group.examples[place].source}`.slice(0, 90);
  at("example").replaceChildren(...listed.map((place) => new Option(label(place), place)));
  at("example").value = picked.example;
  at("found").textContent = words ? `${listed.length} of ${group.examples.length} found` : "";
}

function search() {
  list();
  if (listed.length && (at("order").value !== "data" || !listed.includes(picked.example))) picked.example = listed[0];
  if (listed.length) redraw();
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
  picked.beside = group.full ?? (group.rules.length ? 0 : null);
  options(at("beside"), group.rules.map((rule) => rule.label), picked.beside);
  at("search").value = "";
  at("order").value = "data";
  list();
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
    if (!listed.includes(picked.example)) at("search").value = "", list();
    draw();
  }
  at("texts").scrollIntoView();
  at("texts").focus({ preventScroll: true });
}

function step(by) {
  picked.example = listed[Math.min(listed.length - 1, Math.max(0, listed.indexOf(picked.example) + by))];
  redraw();
}

function tell(event) {
  const token = event.target.closest("[role=option]");
  if (token?.hasAttribute("aria-label")) at("token").textContent = token.getAttribute("aria-label");
  return token;
}

for (const box of [at("early"), at("full")]) {
  box.addEventListener("pointerover", tell);
  box.addEventListener("focusin", (event) => {
    for (const one of box.querySelectorAll("[role=option]")) {
      one.tabIndex = -1;
      one.setAttribute("aria-selected", "false");
    }
    const token = tell(event);
    if (token) token.tabIndex = 0, token.setAttribute("aria-selected", "true");
  });
  box.addEventListener("keydown", (event) => {
    const all = [...box.querySelectorAll("[role=option]")];
    const here = all.indexOf(document.activeElement);
    const right = getComputedStyle(box).direction === "rtl" ? -1 : 1;
    const there = {
      ArrowRight: here + right, ArrowLeft: here - right, ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1,
    }[event.key];
    if (there === undefined) return;
    event.preventDefault();
    all[Math.min(all.length - 1, Math.max(0, there))]?.focus();
  });
}
at("group").addEventListener("change", (event) => { enter(Number(event.target.value)); redraw(); });
at("rule").addEventListener("change", (event) => { picked.rule = Number(event.target.value); redraw(); });
at("beside").addEventListener("change", (event) => { picked.beside = Number(event.target.value); redraw(); });
at("example").addEventListener("change", (event) => { picked.example = Number(event.target.value); redraw(); });
at("search").addEventListener("input", search);
at("order").addEventListener("change", search);
at("previous").addEventListener("click", () => step(-1));
at("next").addEventListener("click", () => step(1));
addEventListener("hashchange", follow);

options(at("group"), groups.map((group) => group.group), 0);
at("group-control").hidden = groups.length < 2;
at("explorer").hidden = !groups.some((group) => group.examples.length);
at("textless").hidden = !at("explorer").hidden;
enter(0);
draw();
follow();
