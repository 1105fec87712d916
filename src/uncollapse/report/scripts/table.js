// The table of heads: its rows are in the page; here they are sorted, filtered and selected.

const MOST_ROWS = 200;
const NARROW_NAME = 110; // pixels of the first column, at least
const table = find("heads");
const frame = table.parentElement;
const headers = [...table.tHead.rows[0].cells];
const columns = headers.map((cell) => cell.dataset.column);
const sections = [...table.tBodies].map((body) => ({body, title: body.rows[0]}));
const rowOf = [...table.querySelectorAll("tr[data-place]")];
const buttonOf = rowOf.map((row, place) => {
  const button = html("button", {type: "button", tabIndex: -1, onclick: () => select(place)});
  button.append(...row.cells[0].childNodes);
  row.cells[0].append(button);
  return button;
});
const sectionOf = rowOf.map((row) => row.parentElement);

function compareBy(column) {
  const value = {
    name: (place) => groups[place].name.toLowerCase(),
    n: (place) => parseInt(groups[place].n),
    changes: (place) => groups[place].changes,
  }[column] ?? ((place) => mean(place, column));
  return (one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    const sign = a < b ? -1 : a > b ? 1 : 0;
    return (state.down ? -sign : sign) || one - other;
  };
}

// the places of the groups that the filter shows, in the order of the table
function listPlaces() {
  const places = groups.map((_, place) => place).filter(isShown);
  return state.sort ? places.sort(compareBy(state.sort)) : places;
}

function drawRows() {
  const places = listPlaces();
  const visible = state.more ? places : places.slice(0, MOST_ROWS);
  if (state.selected !== null && !visible.includes(state.selected) && isShown(state.selected))
    visible.push(state.selected);
  const kept = new Set(visible);
  rowOf.forEach((row, place) => (row.hidden = !kept.has(place)));
  for (const {body, title} of sections) body.replaceChildren(title);
  for (const place of visible)
    (state.sort ? sections[0].body : sectionOf[place]).append(rowOf[place]);
  // rows that are not visible stay in the page
  rowOf.forEach((row, place) => kept.has(place) || sectionOf[place].append(row));
  for (const {body, title} of sections) {
    const rows = [...body.rows].slice(1);
    title.hidden = Boolean(state.sort) || rows.every((row) => row.hidden);
  }
  headers.forEach((cell, i) => {
    const order = state.sort === columns[i] ? (state.down ? "descending" : "ascending") : "none";
    cell.setAttribute("aria-sort", order);
  });
  find("more").hidden = places.length <= MOST_ROWS;
  find("more").textContent = state.more
    ? `first ${MOST_ROWS} rows only` : `${places.length - MOST_ROWS} more rows`;
  find("count").textContent = places.length === groups.length
    ? "" : `${places.length} of ${groups.length} rows`;
  find("copied").textContent = ""; // of rows that were shown before
  setStop(places.includes(state.selected) ? state.selected : visible[0]);
}

// ---- columns: dropped from the right until the rest fits

let natural = []; // widths

function measureColumns() {
  table.classList.add("natural");
  showColumns(columns.length);
  natural = headers.map((cell) => cell.getBoundingClientRect().width);
  table.classList.remove("natural");
}

function showColumns(count) {
  for (const row of [table.tHead.rows[0], ...rowOf])
    [...row.cells].forEach((cell, i) => (cell.hidden = i >= count));
  for (const {title} of sections) title.cells[0].colSpan = count;
}

function drawColumns() {
  let count = columns.length;
  if (!state.all) {
    const room = frame.clientWidth;
    // names may wrap
    const first = Math.min(natural[0], Math.max(NARROW_NAME, room * 0.32));
    let width = d3.sum(natural) - natural[0] + first;
    while (count > 2 && width > room) width -= natural[--count];
  }
  showColumns(count);
  const left = columns.length - count;
  find("columns").textContent = left ? `${left} more columns` : "fewer columns";
  find("columns").hidden = !left && !state.all;
}

const countColumns = () => headers.filter((cell) => !cell.hidden).length;

// ---- selection and keyboard

// one row is a stop of the tab key; arrow keys move from there
function setStop(place) {
  buttonOf.forEach((button, i) => (button.tabIndex = i === place ? 0 : -1));
}

function drawSelection() {
  rowOf.forEach((row, place) => {
    row.classList.toggle("selected", place === state.selected);
    buttonOf[place].setAttribute("aria-pressed", String(place === state.selected));
  });
  if (state.selected === null) return;
  if (rowOf[state.selected].hidden) drawRows();
  setStop(state.selected);
  // scrolls the table, not the page
  const row = rowOf[state.selected].getBoundingClientRect();
  const room = frame.getBoundingClientRect();
  const top = room.top + table.tHead.offsetHeight;
  if (row.top < top) frame.scrollTop -= top - row.top;
  else if (row.bottom > room.bottom) frame.scrollTop += row.bottom - room.bottom + 2;
}

function moveFocus(event) {
  if (event.key === "Enter" && buttonOf.includes(event.target)) {
    event.preventDefault(); // the space bar only selects
    openHead(buttonOf.indexOf(event.target));
    return;
  }
  const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
  const place = buttonOf.indexOf(event.target);
  if (!step || place < 0) return;
  event.preventDefault();
  const visible = [...table.querySelectorAll("tr[data-place]")].filter((row) => !row.hidden);
  const next = visible[visible.indexOf(rowOf[place]) + step];
  if (!next) return;
  setStop(rowOf.indexOf(next));
  buttonOf[rowOf.indexOf(next)].focus();
}

// ---- the list of every run, of which the first rows show

function startRuns() {
  const rows = [...(find("runs").querySelector("table")?.rows ?? [])].slice(1 + MOST_ROWS);
  if (!rows.length) return;
  const show = (event) => {
    for (const row of rows) row.hidden = false;
    event.currentTarget.remove();
    rows[0].tabIndex = -1;
    rows[0].focus({preventScroll: true});
  };
  for (const row of rows) row.hidden = true;
  const text = `${rows.length.toLocaleString("en")} more runs`;
  find("runs").append(html("button", {type: "button", id: "more-runs", onclick: show}, text));
}

function startTable() {
  headers.forEach((cell, i) => {
    const column = columns[i];
    const sort = () => {
      // up, down, and back to the sections
      if (state.sort !== column) set({sort: column, down: false});
      else set(state.down ? {sort: null, down: false} : {down: true});
    };
    cell.replaceChildren(html("button", {type: "button", onclick: sort}, ...cell.childNodes));
  });
  rowOf.forEach((row, place) =>
    row.addEventListener("click", (event) => event.target.closest("button") || select(place)));
  table.addEventListener("keydown", moveFocus);
  const present = [...new Set(groups.map(({slot}) => slot))].filter((slot) => slot);
  for (const slot of present.length > 1 ? present : []) {
    const change = () => {
      const shown = new Set(state.shown);
      shown.delete(slot) || shown.add(slot);
      set({shown});
    };
    const isOn = () => state.shown.has(slot);
    find("slots").append(makeToggle([makeGlyph(slot), slot], ["shown"], isOn, change));
  }
  const field = find("text");
  field.addEventListener("input", () => set({text: field.value.toLowerCase()}));
  follow(["text"], () => {
    if (field.value.toLowerCase() !== state.text) field.value = state.text;
  });
  find("columns").addEventListener("click", () => set({all: !state.all}));
  find("more").addEventListener("click", () => set({more: !state.more}));
  follow(["all"], () => {
    find("columns").setAttribute("aria-pressed", String(state.all));
    drawColumns();
  });
  follow(["sort", "down", "shown", "text", "brushes", "more"], drawRows);
  follow(["selected"], drawSelection);
  find("tools").hidden = find("table-end").hidden = false;
  drawRows();
  measureColumns();
  drawColumns();
}
