// The data of the page, its one state, and helpers. Text always enters the page as text.

const find = (id) => document.getElementById(id);
const {metrics, axes, slots, groups, runs, latex, formulas} = JSON.parse(find("data").textContent);
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
  selected: null, // the place of a group in `groups`
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

const select = (place) => set({selected: state.selected === place ? null : place});

// ---- groups

const metric = (place, name) => groups[place].m[name]; // [mean, half-width, text], or undefined
const mean = (place, name) => metric(place, name)?.[0];
const textOf = (place, name) => metric(place, name)?.[2] ?? "–";

function isShown(place) {
  const {slot, name, key} = groups[place];
  if (state.shown.size && !state.shown.has(slot)) return false;
  return `${name} ${key} ${slot}`.toLowerCase().includes(state.text);
}

function describeUnit(name) {
  const {unit, better} = metrics[name];
  const facts = [unit, better && `${better} is better`].filter(Boolean);
  return facts.length ? ` (${facts.join(", ")})` : "";
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

// ---- the address: #head=...&x=...&y=...&log=1

function readAddress() {
  if (!location.hash.includes("=")) return;
  const asked = new URLSearchParams(location.hash.slice(1));
  const change = {selected: null, log: asked.get("log") === "1"};
  for (const axis of ["x", "y"])
    if (Object.hasOwn(metrics, asked.get(axis))) change[axis] = asked.get(axis);
  const place = groups.findIndex(({key}) => key === asked.get("head"));
  if (place >= 0) change.selected = place;
  set(change);
}

function writeAddress() {
  const said = new URLSearchParams();
  if (state.selected !== null) said.set("head", groups[state.selected].key);
  said.set("x", state.x);
  said.set("y", state.y);
  if (state.log) said.set("log", "1");
  try {
    history.replaceState(null, "", `#${said}`);
  } catch {
    // a preview without an address of its own
  }
}
