// Tables: plain ones, and ones whose columns can be sorted. A cell is a text, or { text, value } to sort by the value.

const isCell = (cell) => cell !== null && typeof cell === "object";
const cellText = (cell) => (isCell(cell) ? cell.text : cell);
const cellValue = (cell) => (isCell(cell) ? (cell.value ?? -Infinity) : cell);

function scrollable(title, table) {
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title }, table);
}

function bodyOf(rows) {
  const line = ([first, ...rest]) =>
    make("tr", {}, make("th", { scope: "row" }, cellText(first)), rest.map((cell) => make("td", {}, cellText(cell))));
  return make("tbody", {}, rows.map(line));
}

function plainTable(title, headers, rows) {
  const head = make("thead", {}, make("tr", {}, headers.map((words) => make("th", { scope: "col" }, words))));
  return scrollable(title, make("table", {}, make("caption", {}, title), head, bodyOf(rows)));
}

function sortableTable(title, headers, rows) {
  const columns = headers.map((words, k) => {
    const button = make("button", { type: "button", onclick: () => sortBy(k) }, words);
    return make("th", { scope: "col" }, button);
  });
  const table = make("table", {}, make("caption", {}, title), make("thead", {}, make("tr", {}, columns)), bodyOf(rows));

  function sortBy(k) {
    const falling = columns[k].getAttribute("aria-sort") !== "descending";
    columns.forEach((column) => column.removeAttribute("aria-sort"));
    columns[k].setAttribute("aria-sort", falling ? "descending" : "ascending");
    const sign = falling ? -1 : 1;
    const order = (a, b) => (a < b ? -sign : a > b ? sign : 0);
    const sorted = rows.toSorted((a, b) => order(cellValue(a[k]), cellValue(b[k])));
    table.tBodies[0].replaceWith(bodyOf(sorted));
  }
  return scrollable(title, table);
}
