// A list of any length of which only the visible rows exist. Rows have one height; arrow keys move the chosen one.

const SPARE_ROWS = 4;

function virtualList({ label, rowHeight, rowOf, onchoose }) {
  const spacer = make("div", { class: "spacer" });
  const box = make("div", { class: "list", tabindex: 0, role: "listbox", "aria-label": label }, spacer);
  const rows = new Map();
  let items = [];
  let chosen = -1;

  function show(next) {
    items = next;
    chosen = -1;
    for (const row of rows.values()) row.remove();
    rows.clear();
    spacer.style.height = `${items.length * rowHeight}px`;
    box.scrollTop = 0;
    box.removeAttribute("aria-activedescendant");
    render();
  }
  function render() {
    const first = Math.max(0, Math.floor(box.scrollTop / rowHeight) - SPARE_ROWS);
    const last = Math.min(items.length - 1, Math.ceil((box.scrollTop + box.clientHeight) / rowHeight) + SPARE_ROWS);
    for (const [place, row] of rows) {
      if (place >= first && place <= last) continue;
      row.remove();
      rows.delete(place);
    }
    for (let place = first; place <= last; place++) if (!rows.has(place)) rows.set(place, added(place));
  }
  function added(place) {
    const row = rowOf(items[place]);
    row.id = `row-${place}`;
    row.setAttribute("role", "option");
    row.setAttribute("aria-posinset", place + 1);
    row.setAttribute("aria-setsize", items.length);
    row.setAttribute("aria-selected", place === chosen);
    row.style.top = `${place * rowHeight}px`;
    row.addEventListener("click", () => choose(place));
    spacer.append(row);
    return row;
  }
  function choose(place) {
    if (!items.length) return;
    rows.get(chosen)?.setAttribute("aria-selected", "false");
    chosen = Math.max(0, Math.min(items.length - 1, place));
    bringIntoView(chosen);
    render();
    rows.get(chosen).setAttribute("aria-selected", "true");
    box.setAttribute("aria-activedescendant", `row-${chosen}`);
    onchoose(items[chosen]);
  }
  function bringIntoView(place) {
    const top = place * rowHeight;
    if (top < box.scrollTop) box.scrollTop = top;
    const over = top + rowHeight - box.scrollTop - box.clientHeight;
    if (over > 0) box.scrollTop += over;
  }
  box.addEventListener("scroll", oncePerFrame(render), { passive: true });
  box.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(box.clientHeight / rowHeight) - 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -items.length, End: items.length };
    if (!(event.key in moves)) return;
    event.preventDefault();
    choose(chosen < 0 && event.key !== "End" ? 0 : chosen + moves[event.key]);
  });
  new ResizeObserver(oncePerFrame(render)).observe(box);
  return { box, show, choose };
}
