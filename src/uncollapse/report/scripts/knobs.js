// Parallel coordinates: an axis per knob and result, a line per group. A range on an axis narrows
// all views.

const AXIS = {top: 34, bottom: 22, side: 60, height: 330};
const [MOST_TICKS, MOST_LETTERS] = [8, 9];
const GRIP = 14; // pixels beside an axis on which a drag chooses a range
let knobView = null; // what is drawn: {root, tip, width, axes, lines}

const knobSet = () => knobs[state.knobSet];

// the value of a group on an axis; null if it has none
function valueOn(axis, place) {
  if (axis.metric) return mean(place, axis.name) ?? null;
  const i = knobSet().places.indexOf(place);
  return i < 0 ? null : axis.values[i];
}

// whether a group is within all chosen ranges
function passesBrushes(place) {
  return Object.entries(state.brushes).every(([name, [low, high]]) => {
    const axis = knobSet().axes.find((one) => one.name === name);
    const value = valueOn(axis, place);
    return value !== null && value >= low && value <= high;
  });
}

function brush(name, range) {
  const brushes = {...state.brushes};
  delete brushes[name];
  if (range) brushes[name] = range;
  set({brushes});
}

function makeAxis(axis, places) {
  const range = [AXIS.height - AXIS.bottom, AXIS.top];
  if (axis.labels) return d3.scalePoint(d3.range(axis.labels.length), range).padding(0.5);
  const values = places.map((place) => valueOn(axis, place)).filter((value) => value !== null);
  const [low, high] = values.length ? d3.extent(values) : [0, 1];
  const span = low === high ? [low - 0.5, high + 0.5] : [low, high];
  return axis.log ? d3.scaleLog(span, range) : d3.scaleLinear(span, range);
}

function writeOn(axis, place) {
  if (axis.metric) return textOf(place, axis.name);
  const value = valueOn(axis, place);
  return axis.labels ? axis.labels[value] : writeTick(value);
}

const titleOf = (axis) => (axis.metric ? metrics[axis.name].header : axis.name);

function drawKnobs() {
  if (!knobs.length) return;
  const {axes: own, places} = knobSet();
  const frame = find("knob-plot");
  const width = Math.max(own.length * 90, frame.clientWidth);
  const {height, side} = AXIS;
  const root = svg("svg", {viewBox: `0 0 ${width} ${height}`, width, height, role: "group",
    "aria-label": `${places.length} groups over ${own.map(titleOf).join(", ")}; arrow keys move `
      + "between them"});
  const drawnAxes = own.map((axis, i) => ({axis, scale: makeAxis(axis, places),
    x: side + i * (width - 2 * side) / Math.max(own.length - 1, 1)}));
  const layer = root.appendChild(svg("g"));
  const lines = places.map((place) => drawKnobLine(layer, place, drawnAxes));
  for (const drawn of drawnAxes) drawKnobAxis(root, drawn);
  const tip = html("div", {className: "tip", hidden: true});
  frame.replaceChildren(root, tip);
  knobView = {root, tip, width, axes: drawnAxes, lines};
  listenToKnobs();
  markKnobs();
}

function drawKnobLine(layer, place, drawnAxes) {
  const points = drawnAxes.map(({axis, scale, x}) => {
    const value = valueOn(axis, place);
    return [x, value === null ? NaN : scale(value)];
  });
  const {name, slot} = groups[place];
  const said = drawnAxes.map(({axis}) => `${titleOf(axis)} ${writeOn(axis, place)}`);
  const path = layer.appendChild(svg("path", {d: tracePath(points), tabindex: -1, role: "button",
    class: `knob-line slot-${slots[slot].css_name}`, "aria-pressed": "false",
    "aria-label": [name, ...said].join(", ")}));
  return {place, points, path, said};
}

// the values of a knob, where they are few
function listKnobTicks(axis, scale) {
  if (axis.labels) return scale.domain();
  const values = new Set(axis.values);
  return axis.metric || values.size > MOST_TICKS ? scale.ticks(5) : [...values];
}

function drawKnobAxis(root, {axis, scale, x}) {
  const {top, bottom, height} = AXIS;
  const add = (kind, attributes, ...inside) => root.append(svg(kind, attributes, ...inside));
  add("line", {x1: x, x2: x, y1: top, y2: height - bottom, class: "zero"});
  for (const tick of listKnobTicks(axis, scale)) {
    const text = axis.labels ? axis.labels[tick] : writeTick(tick);
    add("line", {x1: x - 4, x2: x, y1: scale(tick), y2: scale(tick), class: "zero"});
    add("text", {x: x - 7, y: scale(tick) + 4, "text-anchor": "end", class: "tick"},
      text.length > MOST_LETTERS ? `${text.slice(0, MOST_LETTERS - 1)}…` : text);
  }
  add("text", {x, y: 14, "text-anchor": "middle"}, titleOf(axis));
  const range = state.brushes[axis.name];
  if (!range) return;
  const edges = [height - bottom, top]; // of a range without an end
  const cut = (py) => Math.min(Math.max(py, top), height - bottom);
  const ends = range.map((value, side) =>
    (Number.isFinite(value) ? cut(scale(value)) : edges[side]));
  const edge = axis.labels ? 8 : 0;
  add("rect", {class: "drag", x: x - 6, width: 12, y: Math.min(...ends) - edge,
    height: Math.max(...ends) - Math.min(...ends) + 2 * edge});
}

function markKnobs() {
  if (!knobView) return;
  const {root, lines} = knobView;
  const stop = lines.find(({place}) => place === state.selected)
    ?? lines.find(({place}) => isShown(place)) ?? lines[0];
  for (const line of lines) {
    const {place, path} = line;
    path.classList.toggle("out", !isShown(place));
    path.classList.toggle("selected", place === state.selected);
    path.setAttribute("aria-pressed", String(place === state.selected));
    path.setAttribute("tabindex", line === stop ? 0 : -1);
  }
  root.classList.toggle("dim", lines.some(({place}) => place === state.selected));
  const shown = lines.filter(({place}) => isShown(place)).length;
  find("knob-count").textContent = shown === lines.length
    ? "" : `${shown} of ${lines.length} groups`;
  find("knob-all").hidden = !Object.keys(state.brushes).length;
}

// ---- pointer

// the visible line nearest to the pointer, or null
function findKnobLine(px, py) {
  const distance = ({points}) => {
    const right = points.findIndex(([x]) => x >= px);
    if (right < 1) return Infinity;
    const [[x0, y0], [x1, y1]] = [points[right - 1], points[right]];
    return Math.abs(y0 + (y1 - y0) * (px - x0) / (x1 - x0) - py);
  };
  const lines = knobView.lines.filter(({place}) => isShown(place));
  const best = d3.least(lines, distance);
  return best && distance(best) <= NEAR_RUN ? best : null;
}

function showKnobTip({place, said}, px, py) {
  const {tip, width} = knobView;
  fillTip(tip, groups[place].slot, groups[place].name, said);
  placeTip(tip, width, px, py);
}

// the range between two heights of an axis; null for a mere click
function invertRange({axis, scale}, from, to) {
  if (Math.abs(from - to) < 4) return null;
  const [low, high] = [Math.min(from, to), Math.max(from, to)];
  if (!axis.labels) return [scale.invert(high), scale.invert(low)];
  const held = scale.domain().filter((i) => scale(i) >= low && scale(i) <= high);
  return held.length ? [held[0], held.at(-1)] : null;
}

function listenToKnobs() {
  const {root, tip, width, axes: drawn, lines} = knobView;
  const place = (event) => locate(root, width, event);
  let dragged = null; // {axis, from, rect}
  root.addEventListener("pointerdown", (event) => {
    const [px, py] = place(event);
    const axis = drawn.find(({x}) => Math.abs(x - px) <= GRIP);
    if (!axis || event.button !== 0) return;
    dragged = {axis, from: py, rect: root.appendChild(svg("rect", {class: "drag",
      x: axis.x - 6, width: 12}))};
    root.setPointerCapture(event.pointerId);
  });
  root.addEventListener("pointermove", (event) => {
    const [px, py] = place(event);
    const isNearAxis = drawn.some(({x}) => Math.abs(x - px) <= GRIP);
    root.classList.toggle("gripping", isNearAxis);
    const line = dragged ? null : findKnobLine(px, py);
    for (const {path} of lines) path.classList.toggle("hot", path === line?.path);
    if (line) showKnobTip(line, px, py);
    else tip.hidden = true;
    dragged?.rect.setAttribute("y", Math.min(py, dragged.from));
    dragged?.rect.setAttribute("height", Math.abs(py - dragged.from));
  });
  root.addEventListener("pointerup", (event) => {
    if (!dragged) return;
    const {axis, from, rect} = dragged;
    dragged = null;
    rect.remove();
    const range = invertRange(axis, from, place(event)[1]);
    if (range || state.brushes[axis.axis.name]) brush(axis.axis.name, range);
    else selectAt(...place(event));
  });
  root.addEventListener("click", (event) => {
    const [px, py] = place(event);
    if (event.detail && !drawn.some(({x}) => Math.abs(x - px) <= GRIP)) selectAt(px, py);
  });
  root.addEventListener("pointerleave", () => (tip.hidden = true));
  for (const line of lines) {
    line.path.addEventListener("focus", () => showKnobTip(line, ...line.points[0]));
    line.path.addEventListener("blur", () => (tip.hidden = true));
    line.path.addEventListener("keydown", (event) => moveStop(
      lines.filter(({place}) => isShown(place)).map(({path}) => path), event));
    listenToOpen(line.path, () => line.place);
  }
}

function selectAt(px, py) {
  const line = findKnobLine(px, py);
  if (line) select(line.place);
}

// ---- ranges by keyboard

let rangeFields = []; // {field, axis, side}

function drawRanges() {
  rangeFields = [];
  const fields = knobSet().axes.map((axis) => {
    const ends = ["from", "to"].map((word, side) => makeEnd(axis, side, word));
    return html("fieldset", {}, html("legend", {}, titleOf(axis)), ...ends);
  });
  find("knob-ranges").replaceChildren(...fields);
  readRanges();
}

function makeEnd(axis, side, word) {
  const ariaLabel = `${titleOf(axis)} ${word}`;
  const field = axis.labels
    ? html("select", {ariaLabel}, html("option", {value: ""}, word),
      ...axis.labels.map((label, i) => html("option", {value: i}, label)))
    : html("input", {type: "number", step: "any", ariaLabel, placeholder: word});
  field.addEventListener("change", () => {
    const range = [...state.brushes[axis.name] ?? [-Infinity, Infinity]];
    range[side] = field.value === "" ? (side ? Infinity : -Infinity) : Number(field.value);
    brush(axis.name, range.some(Number.isFinite) ? range : null);
  });
  rangeFields.push({field, axis, side});
  return field;
}

function readRanges() {
  for (const {field, axis, side} of rangeFields) field.value = readEnd(axis, side);
}

function readEnd(axis, side) {
  const value = state.brushes[axis.name]?.[side];
  return Number.isFinite(value) ? String(Number(value.toPrecision(4))) : "";
}

function startKnobs() {
  if (!knobs.length) return;
  find("knobs-section").hidden = false;
  const choice = find("knob-set");
  knobs.forEach(({name, places}, i) =>
    choice.append(html("option", {value: i}, `${name} (${places.length})`)));
  choice.parentElement.hidden = knobs.length < 2;
  choice.addEventListener("change", () => set({knobSet: Number(choice.value), brushes: {}}));
  find("knob-all").addEventListener("click", () => set({brushes: {}}));
  follow(["knobSet"], drawRanges);
  follow(["brushes"], readRanges);
  follow(["knobSet", "brushes"], drawKnobs);
  follow(["shown", "text", "selected"], markKnobs);
  drawRanges();
  drawKnobs();
}
