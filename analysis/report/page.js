"use strict";
// What the parts of the page share. Every text goes in as textContent, so it is shown and never interpreted.
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);

function element(tag, text, parent, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  parent.append(made);
  return made;
}

function drawn(tag, attributes, parent) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  return made;
}

// A column of a table is sorted by its button: numbers by size, the rest by letters.
for (const head of document.querySelectorAll("table.sortable th")) {
  const button = element("button", head.textContent, head);
  head.firstChild.remove();
  button.type = "button";
  button.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0];
    const cell = (row) => row.cells[head.cellIndex].textContent;
    const order = (a, b) => {
      const [x, y] = [parseFloat(cell(a)), parseFloat(cell(b))];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || cell(a).localeCompare(cell(b));
      return up ? x - y : y - x;
    };
    body.append(...[...body.rows].sort(order));
  });
}
