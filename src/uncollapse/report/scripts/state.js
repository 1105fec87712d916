// The data of the page, its one state, and helpers. Text always enters the page as text.

const find = (id) => document.getElementById(id);

// plain JSON, or its gzip as base64 where there is much of it
async function readData() {
  const {type, textContent: text} = find("data");
  if (type === "application/json") return JSON.parse(text);
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(unpacked).json();
}

const {
  metrics, axes, compared, quantiles, slots, groups, runs, curves, dimensions, frontiers, knobs,
  latex, formulas,
} = await readData();
const SVG = "http://www.w3.org/2000/svg";

const state = {
  x: axes[0], // a metric
  y: axes[1],
  log: false,
  box: null, // the part of the plane that is shown: [x0, x1, y0, y1], or all of it
  shown: new Set(), // slots; none means all
  text: "",
  sort: null, // a column, or the order of the page
  down: false,
  all: false, // columns
  more: false, // rows
  allAnswers: false, // also the sentences after the first few
  selected: null, // the place of a group in `groups`
  against: null, // another one, which the opened head is compared with; none means plain
  curve: curves.names?.[0], // a metric
  curveLog: false,
  frontier: 0, // which horizontal axis
  frontierLog: false,
  frontierBox: null, // as `box`
  knobSet: 0, // which groups are in parallel coordinates
  brushes: {}, // name of an axis -> [lowest, highest] that is shown
};

const views = []; // each draws again when one of its keys changes

function follow(keys, draw) {
  views.push({keys, draw});
}

function set(change) {
  Object.assign(state, change);
  const changed = Object.keys(change);
  for (const {keys, draw} of views) if (keys.some((key) => changed.includes(key))) draw();
}

let opener = null; // the element that had the focus when a head was selected

function select(place) {
  opener = document.activeElement;
  set({selected: state.selected === place ? null : place});
}

function openHead(place) {
  opener = document.activeElement;
  set({selected: place});
  showOpened();
}

// the focus goes back to where the head was opened
function closeHead() {
  const place = state.selected;
  const isInside = find("opened").contains(document.activeElement);
  set({selected: null});
  if (!isInside || place === null) return;
  const isUsable = opener?.isConnected && opener.matches("button, [role=button]");
  (isUsable && !opener.closest("#opened") ? opener : buttonOf[place]).focus();
}

// ---- groups

const metric = (place, name) => groups[place].m[name]; // [mean, half-width, text], or undefined
const mean = (place, name) => metric(place, name)?.[0];
const textOf = (place, name) => metric(place, name)?.[2] ?? "–";

// a metric of the table, or one that only curves have
const factsOf = (name) => metrics[name] ?? curves.metrics?.[name];

// head -> what its file says, in which one may search, too
const aboutOf = new Map([...document.querySelectorAll("[data-head]")]
  .map((element) => [element.dataset.head, element.querySelector(".description").textContent]));

function isShown(place) {
  const {slot, name, key, head} = groups[place];
  if (state.shown.size && !state.shown.has(slot)) return false;
  const words = `${name} ${key} ${slot} ${aboutOf.get(head) ?? ""}`.toLowerCase();
  return words.includes(state.text) && passesBrushes(place);
}

function describeUnit(name) {
  const {unit, better} = factsOf(name);
  const facts = [unit, better && `${better} is better`].filter(Boolean);
  return facts.length ? ` (${facts.join(", ")})` : "";
}

// ---- runs

const runsOf = groups.map(() => []); // the positions of the runs of each group
runs.group.forEach((place, i) => runsOf[place].push(i));
const statusOf = (i) => runs.status[i] ?? "done";
const unconverged = new Set(runs.unconverged);
const saturated = new Set(runs.saturated);

// ---- numbers, as Python writes them (catalogue.choose_decimals, tables.cells.format_cell)

function chooseDecimals(value, half) {
  const usual = value !== 0 && Math.abs(value) < 0.1 ? 3 : 2;
  for (let digits = usual; digits < 6; digits += 1)
    if (half > 0 && Number(half.toFixed(digits)) !== 0) return digits;
  return usual;
}

const writeFixed = (value, digits) =>
  Math.abs(value) < 1e15 ? value.toFixed(digits) : value.toPrecision(4);

function writeNumber(value, name, half = null, sign = "") {
  if (value === null || value === undefined) return "–";
  const digits = factsOf(name)?.digits ?? chooseDecimals(value, half);
  const isZero = Number(value.toFixed(Math.min(digits, 100))) === 0;
  const text = writeFixed(isZero ? 0 : value, digits);
  const signed = sign && value > 0 && !isZero ? `+${text}` : text;
  const interval = half === null ? "" : ` ± ${writeFixed(half, digits)}`;
  return (signed + interval).replaceAll("-", "−");
}

// ---- elements

function html(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function makeGlyph(slot) {
  const {css_name: name, path} = slots[slot];
  const attributes = {viewBox: "-6 -6 12 12", class: `glyph slot-${name}`, "aria-hidden": "true"};
  return svg("svg", attributes, svg("path", {d: path}));
}

// a button that stays pressed while `isOn()`
function makeToggle(label, keys, isOn, change) {
  const button = html("button", {type: "button", onclick: change}, ...[label].flat());
  const draw = () => button.setAttribute("aria-pressed", String(isOn()));
  follow(keys, draw);
  draw();
  return button;
}
