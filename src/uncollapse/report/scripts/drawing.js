// Scales, axes and tips, which several views share.

const MARGIN = {left: 58, right: 18, top: 28, bottom: 44};
const REACH = 30; // pixels from a mark at which the pointer names it
const FAR = 4; // times the distance that 90 % of the groups keep from the median
const pen = html("canvas").getContext("2d");

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(share * (sorted.length - 1))];
}

// the span of the values without a few that are far from all others
function usualSpan(values) {
  const middle = quantile(values, 0.5);
  const usual = quantile(values.map((value) => Math.abs(value - middle)), 0.9);
  const near = values.filter((value) => Math.abs(value - middle) <= FAR * usual);
  return values.length < 5 || !near.length ? d3.extent(values) : d3.extent(near);
}

function makeScale(values, asked, range, log) {
  let span = asked ?? (log ? d3.extent(values) : usualSpan(values));
  if (span[0] === span[1]) span = [span[0] - 0.5, span[1] + 0.5];
  const sizes = values.map(Math.abs).filter(Boolean);
  const linear = () => d3.scaleLinear();
  const logarithmic = () => (values.every((value) => value > 0) && span[0] > 0
    ? d3.scaleLog() : d3.scaleSymlog().constant(Math.max(d3.min(sizes) ?? 1, d3.max(sizes) / 1e3)));
  const scale = (log ? logarithmic() : linear()).domain(span).range(range);
  if (!asked && !log) scale.nice(6);
  return scale.clamp(true);
}

function listTicks(scale, count) {
  if (!scale.constant) return scale.ticks(count);
  const [low, high] = d3.extent(scale.domain());
  const powers = d3.range(-6, 7).map((power) => 10 ** power)
    .filter((size) => size >= scale.constant() * 0.99);
  return [...powers.map((size) => -size), 0, ...powers].filter((t) => t >= low && t <= high);
}

const writeTick = (value) => String(+value.toPrecision(6)).replace("-", "−");

function drawAxes(root, x, y, width, height, nameX, nameY) {
  const {left, right, top, bottom} = MARGIN;
  const add = (name, attributes, text = "") => root.append(svg(name, attributes, text));
  for (const tick of listTicks(y, height / 60)) {
    const at = y(tick);
    const line = {x1: left, x2: width - right, y1: at, y2: at};
    add("line", {...line, class: tick === 0 ? "zero" : "grid"});
    add("text", {x: left - 7, y: at + 4, "text-anchor": "end", class: "soft"}, writeTick(tick));
  }
  for (const tick of listTicks(x, width / 90)) {
    const at = x(tick);
    add("line", {x1: at, x2: at, y1: height - bottom, y2: height - bottom + 4, class: "zero"});
    add("text", {x: at, y: height - bottom + 18, "text-anchor": "middle", class: "soft"},
      writeTick(tick));
  }
  add("text", {x: width - right, y: height - 6, "text-anchor": "end"},
    metrics[nameX].header + describeUnit(nameX) + " →");
  add("text", {x: 4, y: 12}, "↑ " + metrics[nameY].header + describeUnit(nameY));
}

function placeTip(tip, width, px, py) {
  const left = px + 14 + tip.offsetWidth > width ? px - 14 - tip.offsetWidth : px + 14;
  tip.style.left = `${Math.max(0, left)}px`;
  tip.style.top = `${Math.max(0, py - tip.offsetHeight / 2)}px`;
}

function fillTip(tip, slot, name, lines) {
  const rows = lines.map((text) => html("div", {}, text));
  tip.replaceChildren(html("b", {}, makeGlyph(slot), name), ...rows);
  tip.hidden = false;
}

// the place of the pointer in the units of a drawing of this width
function locate(root, width, event) {
  const box = root.getBoundingClientRect();
  const scale = width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

// a box that is dragged is what `show` gets: [x0, x1, y0, y1]; a double click shows all again
function listenToDrag({root, x, y, width}, show) {
  const sort = (a, b) => [Math.min(a, b), Math.max(a, b)];
  const invert = (scale, pixel) => scale.copy().clamp(true).invert(pixel);
  let start = null;
  let rect = null;
  root.addEventListener("pointerdown", (event) => {
    // a finger scrolls
    if (event.button === 0 && event.pointerType !== "touch") start = locate(root, width, event);
  });
  root.addEventListener("pointermove", (event) => {
    if (!start) return;
    const [px, py] = locate(root, width, event);
    if (!rect && Math.hypot(px - start[0], py - start[1]) > 6) {
      rect = root.appendChild(svg("rect", {class: "drag"}));
      root.setPointerCapture(event.pointerId);
    }
    const [left, right] = sort(px, start[0]);
    const [top, bottom] = sort(py, start[1]);
    const sides = {x: left, y: top, width: right - left, height: bottom - top};
    for (const [key, value] of Object.entries(sides)) rect?.setAttribute(key, value);
  });
  root.addEventListener("pointerup", (event) => {
    const [from, dragged] = [start, rect];
    start = rect = null;
    if (!dragged) return;
    const to = locate(root, width, event);
    show([...sort(invert(x, from[0]), invert(x, to[0])),
      ...sort(invert(y, from[1]), invert(y, to[1]))]);
  });
  root.addEventListener("dblclick", () => show(null));
}

// an SVG path through points, interrupted where one has no value
function tracePath(points) {
  let isOpen = false;
  return points.map(([px, py]) => {
    if (!Number.isFinite(px) || !Number.isFinite(py)) return (isOpen = false, "");
    const step = `${isOpen ? "L" : "M"}${px.toFixed(1)},${py.toFixed(1)}`;
    isOpen = true;
    return step;
  }).join("");
}

// of several elements one is a stop of the tab key; arrow keys move from there
function moveStop(elements, event) {
  const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
  const i = elements.indexOf(event.target);
  if (!step || i < 0) return;
  event.preventDefault();
  const next = elements[(i + step + elements.length) % elements.length];
  event.target.setAttribute("tabindex", -1);
  next.setAttribute("tabindex", 0);
  next.focus();
}

// the Enter key opens a head, the space bar only selects it
function listenToOpen(element, getPlace) {
  element.addEventListener("keydown", (event) => {
    if (event.key === "Enter") openHead(getPlace());
    // a button knows the space bar
    else if (event.key === " " && element.localName !== "button") select(getPlace());
    else return;
    event.preventDefault();
  });
}
