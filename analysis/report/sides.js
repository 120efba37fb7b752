// Two groups of runs beside each other: what each measure costs and keeps at one promise.
if (at("sides-controls")) {
  const [left, right, promise] = ["left", "right", "promise"].map(at);
  const known = data.sliders.map((table, place) => [table, place]).filter(([table]) => table);
  const points = (table, [objective, delta]) => Object.fromEntries(Object.entries(table.objectives[objective] ?? {})
    .map(([measure, rows]) => [measure, rows.find((row) => row[0] === delta)]).filter(([, row]) => row));
  const text = ([value, low, high], digits, unit = "") => value === null ? "not timed"
    : `${value.toFixed(digits)}${unit}` + (low === null || high === null || low === high ? "" : ` (${low.toFixed(digits)} to ${high.toFixed(digits)})`);
  const fared = (table, [, key, held, trials, , state]) =>
    key === table.full ? "full model" : trials ? `${state}, ${held} of ${trials}` : state;
  const columns = [
    ["threshold", (table, row) => table.rules[row[1]].name.replace(/^.*, /, "")],
    ["layers", (table, row) => text(table.rules[row[1]].mean_exit_layer, 2)],
    ["speed", (table, row) => text(table.rules[row[1]].speedup, 2, " ×")],
    ["score", (table, row) => `${table.quality} ${text(table.rules[row[1]].score, 1)}`],
    ["held out", fared],
  ];

  // The tolerances that both hold, those first that one of them promised.
  function promises() {
    const both = [left, right].map((select) => data.sliders[select.value]);
    const before = promise.value;
    const named = Object.keys(both[0].objectives).filter((objective) => both[1].objectives[objective]).flatMap((objective) =>
      [...new Set(both.flatMap((table) => table.promised[objective] ?? []))]
        .filter((delta) => both.every((table) => Object.keys(points(table, [objective, delta])).length))
        .sort((a, b) => a - b).map((delta) => [objective, delta]));
    promise.replaceChildren(...named.map((one) => new Option(`${one[0]} δ = ${one[1]}`, JSON.stringify(one))));
    promise.value = named.some((one) => JSON.stringify(one) === before) ? before : JSON.stringify(named.at(-1) ?? null);
  }

  function compare() {
    const tables = [left, right].map((select) => data.sliders[select.value]);
    const chosen = JSON.parse(promise.value || "null");
    const [head, body] = [at("sides").tHead, at("sides").tBodies[0]];
    head.replaceChildren();
    body.replaceChildren();
    if (!chosen) return;
    const row = element("tr", "", head);
    for (const name of ["measure", "run", ...columns.map(([name]) => name)]) element("th", name, row).scope = "col";
    const both = tables.map((table) => points(table, chosen));
    for (const measure of new Set(both.flatMap(Object.keys))) {
      [left, right].forEach((select, side) => {
        const line = element("tr", "", body, side ? "last" : "");
        element("th", side ? "" : measure, line).scope = "row";
        element("td", select.selectedOptions[0].textContent, line);
        const point = both[side][measure];
        for (const [, cell] of columns) element("td", point ? cell(tables[side], point) : "", line);
      });
    }
  }

  for (const [select, place] of [[left, 0], [right, 1]]) {
    select.replaceChildren(...known.map(([, number]) => new Option(data.groups[number].group, number)));
    select.value = known[place][1];
    select.addEventListener("change", () => { promises(); compare(); });
  }
  promise.addEventListener("change", compare);
  at("sides-part").hidden = false;
  promises();
  compare();
}
