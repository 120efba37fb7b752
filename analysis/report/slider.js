// The tolerance δ under the reader's hand: what the record's losses certify at it, and what that costs.
data.sliders.forEach((table, place) => {
  const box = at(`slider-${place + 1}`);
  if (!table || !box) return;
  const inside = (name) => box.querySelector(`[data-part=${name}]`);
  const [objective, measure, range] = ["objective", "measure", "delta"].map(inside);
  const WIDTH = 340, HEIGHT = 200, LEFT = 30, BOTTOM = 34, TOP = 8, RIGHT = 8;
  const names = { textual: "texts may differ (textual)", risk: "score may be lost (risk)" };

  const points = () => table.objectives[objective.value][measure.value];
  const point = () => points()[Number(range.value)];
  const interval = ([value, low, high], digits, scale = 1) => {
    if (value === null) return ["not timed", ""];
    const text = (number) => (number * scale).toFixed(digits);
    return [text(value), low !== null && high !== null && low !== high ? `${text(low)} to ${text(high)}` : ""];
  };

  function tile(name, [value, range], note) {
    const made = element("div", "", inside("tiles"));
    element("dt", name, made);
    element("dd", value, made, "main");
    for (const more of [range, note]) if (more) element("dd", more, made, "range");
  }

  function chart() {
    const svg = inside("chart");
    svg.replaceChildren();
    const all = table.objectives[objective.value];
    const most = Math.max(...points().map((one) => one[0]));
    const x = (delta) => LEFT + (WIDTH - LEFT - RIGHT) * delta / most;
    const y = (layers) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - layers / table.layers);
    for (let layer = 0; layer <= table.layers; layer += Math.ceil(table.layers / 8)) {
      drawn("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(layer), y2: y(layer), class: "grid" }, svg);
      drawn("text", { x: LEFT - 5, y: y(layer) + 4, "text-anchor": "end" }, svg).textContent = layer;
    }
    for (const share of [0, 0.25, 0.5, 0.75, 1])
      drawn("text", { x: x(most * share), y: HEIGHT - BOTTOM + 15, "text-anchor": share === 1 ? "end" : "middle" }, svg)
        .textContent = Number((most * share).toFixed(4));
    drawn("text", { x: (WIDTH + LEFT) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, svg).textContent = "tolerance δ; height: layers";
    for (const [name, rows] of Object.entries(all)) {
      const steps = rows.map(([delta, rule], at) => {
        const height = y(table.rules[rule].mean_exit_layer[0]);
        return at ? `H${x(delta)}V${height}` : `M${x(delta)} ${height}`;
      });
      drawn("path", { d: steps.join(""), stroke: table.colours[name], class: name === measure.value ? "own" : "other" }, svg);
    }
    const [delta, rule] = point();
    drawn("line", { x1: x(delta), x2: x(delta), y1: TOP, y2: HEIGHT - BOTTOM, class: "here" }, svg);
    drawn("circle", { cx: x(delta), cy: y(table.rules[rule].mean_exit_layer[0]), r: 5, fill: table.colours[measure.value] }, svg);
    svg.setAttribute("aria-label", `Mean layers against δ: ${table.rules[rule].mean_exit_layer[0].toFixed(2)} of ${table.layers} at δ = ${delta}`);
  }

  function show() {
    const [delta, key, held, trials, loss, state] = point();
    const [rule, full] = [table.rules[key], table.rules[table.full]];
    const passed = key !== table.full;
    range.setAttribute("aria-valuetext", `δ = ${delta}`);
    inside("said").textContent = `δ = ${delta}`;
    inside("tiles").replaceChildren();
    const layers = interval(rule.mean_exit_layer, 2);
    tile("Layers per token", [`${layers[0]} of ${table.layers}`, layers[1]]);
    const flops = interval(rule.flops_reduction, 2);
    const dearer = rule.flops_reduction[0] < 1 ? ": more FLOPs than the full model's" : "";
    tile("Decoder FLOPs", [`÷ ${flops[0]}`, flops[1]], `full model over early${dearer}`);
    const speed = interval(rule.speedup, 2);
    const slower = rule.speedup[0] !== null && rule.speedup[0] < 1 ? "slower than the full model" : "";
    tile("Speed", rule.speedup[0] === null ? speed : [`${speed[0]} ×`, speed[1]],
      [slower, rule.seconds[0] === null ? "" : `${interval(rule.seconds, 1, 1000)[0]} ms a text`].filter(Boolean).join("; "));
    tile(`${table.quality} (full: ${interval(full.score, 1)[0]})`, interval(rule.score, 1));
    const verdict = inside("state");
    verdict.className = `state ${passed ? state : "full-model"}`;
    verdict.textContent = passed ? state : "full model";
    const checked = trials ? `held-out loss at most δ in ${held} of ${trials} trials, on average ${loss.toFixed(3)}` : "no texts were held out to test it";
    const own = table.promised[objective.value].includes(delta);
    inside("outcome").textContent = passed
      ? `${rule.name}: ${checked}.${own ? " This run promised this δ." : " This δ was not promised before the texts were seen: a look, not a promise."}`
      : `No threshold passes at δ = ${delta}: the full model runs, and nothing is saved. ${nearest()}`;
    chart();
  }

  // From which tolerance on this measure saves something.
  function nearest() {
    const first = points().find((one) => one[1] !== table.full);
    return first ? `From δ = ${first[0]} on ${measure.value} passes.` : `${measure.value} passes at none of these δ.`;
  }

  function enter() {
    const own = table.promised[objective.value];
    const rows = points();
    range.max = rows.length - 1;
    const best = rows.findLastIndex((one) => own.includes(one[0]) && one[1] !== table.full);
    const last = rows.findLastIndex((one) => own.includes(one[0]));
    range.value = best >= 0 ? best : Math.max(last, 0);
    show();
  }

  const named = Object.keys(table.objectives);
  objective.replaceChildren(...named.map((name) => new Option(names[name] ?? name, name)));
  const measures = () => {
    const before = measure.value;
    const all = Object.keys(table.objectives[objective.value]);
    measure.replaceChildren(...all.map((name) => new Option(name, name)));
    const own = table.promised[objective.value];
    // First what saves most at the loosest promise: seconds, or layers where not all were timed.
    const rule = (name) => table.rules[table.objectives[objective.value][name].findLast((one) => own.includes(one[0]))?.[1] ?? table.full];
    const timed = all.every((name) => rule(name).speedup[0] !== null);
    const saved = (name) => timed ? rule(name).speedup[0] : -rule(name).mean_exit_layer[0];
    measure.value = all.includes(before) ? before : all.reduce((best, name) => saved(name) > saved(best) ? name : best);
  };
  objective.addEventListener("change", () => { measures(); enter(); });
  measure.addEventListener("change", show);
  range.addEventListener("input", show);
  box.hidden = false;
  measures();
  enter();
});
