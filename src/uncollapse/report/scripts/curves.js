// Curves of training: a panel per group, in the order of the table, with the same axes.

const ROOM = {left: 36, right: 8, top: 6, bottom: 18};
const PANEL_HEIGHT = 112;
const AHEAD = "700px"; // panels so near to the screen are drawn
let panels = []; // the button of each group
let curveWidth = 0;
let waiting = null; // draws panels that come near

const stepsOf = (i) => curves.steps[curves.at[i]] ?? [];
const valuesOf = (i, name) => curves.values[name][i] ?? [];
const lastOf = (i, name) => valuesOf(i, name).findLast((value) => value !== null);

function makeCurveScales(name, width, height) {
  const most = d3.max(curves.steps, (steps) => steps.at(-1));
  const x = d3.scaleLinear([0, most], [ROOM.left, width - ROOM.right]);
  const values = runs.group.flatMap((_, i) => valuesOf(i, name)).filter((value) => value !== null);
  const span = state.curveLog ? null : curves.spans[name];
  const y = makeScale(values, span, [height - ROOM.bottom, ROOM.top], state.curveLog);
  return {x, y: (state.curveLog ? y : y.nice(8)).clamp(false)};
}

let scales = {}; // of the metric that is shown

function drawCurve(place, name, {x, y}, width, height, other = null) {
  const viewBox = `0 0 ${width} ${height}`;
  const root = svg("svg", {viewBox, width, height, "aria-hidden": "true"});
  const add = (kind, attributes, ...inside) => root.appendChild(svg(kind, attributes, ...inside));
  for (const tick of listTicks(y, 3).filter((_, i, all) => i % Math.ceil(all.length / 4) === 0)) {
    add("line", {x1: ROOM.left, x2: width - ROOM.right, y1: y(tick), y2: y(tick), class: "grid"});
    add("text", {x: ROOM.left - 4, y: y(tick) + 4, "text-anchor": "end", class: "soft"},
      writeShort(tick));
  }
  const [start, end] = x.domain();
  add("text", {x: x(start), y: height - 4, class: "soft"}, "0");
  add("text", {x: x(end), y: height - 4, "text-anchor": "end", class: "soft"},
    `${end.toLocaleString("en")} steps`);
  // an svg of its own cuts off what is beyond the axes
  const inside = {x: ROOM.left, y: ROOM.top, width: width - ROOM.left - ROOM.right,
    height: height - ROOM.top - ROOM.bottom};
  const box = {...inside, viewBox: Object.values(inside).join(" ")};
  const lines = add("svg", box);
  const draw = (steps, values, attributes) => lines.append(svg("path", {...attributes,
    d: tracePath(steps.map((step, i) => [x(step), values[i] === null ? NaN : y(values[i])]))}));
  const mean = curves.means[name][groups[place].plain];
  if (other !== null)
    for (const i of runsOf[other]) draw(stepsOf(i), valuesOf(i, name), {class: "line other"});
  if (mean) draw(...mean, {class: "line plain"});
  const kind = `line slot-${slots[groups[place].slot].css_name}`;
  for (const i of runsOf[place])
    draw(stepsOf(i), valuesOf(i, name),
      {class: statusOf(i) === "done" ? kind : `${kind} open`, "data-run": i});
  return root;
}

const writeShort = (tick) => (Math.abs(tick) >= 10000 || (tick && Math.abs(tick) < 0.001)
  ? tick.toExponential(0).replace("-", "−").replace("+", "") : writeTick(tick));

function drawPanel(place) {
  const panel = panels[place];
  const {short, slot} = groups[place];
  const ends = runsOf[place].map((i) => lastOf(i, state.curve)).filter((v) => v !== undefined);
  const said = ends.map((value) => writeNumber(value, state.curve)).join(", ");
  panel.replaceChildren(
    html("span", {className: "name"}, makeGlyph(slot), short),
    html("span", {className: "unseen"},
      said && `, ${factsOf(state.curve).header} at the end: ${said}`),
    drawCurve(place, state.curve, scales, curveWidth, PANEL_HEIGHT));
  panel.dataset.drawn = "1";
}

function drawAllPanels() {
  for (const [place, panel] of panels.entries())
    if (!panel.dataset.drawn && !panel.hidden) drawPanel(place);
}

// what is drawn is out of date
function renewCurves() {
  scales = makeCurveScales(state.curve, curveWidth, PANEL_HEIGHT);
  waiting.disconnect();
  for (const panel of panels) {
    delete panel.dataset.drawn;
    waiting.observe(panel);
  }
  writeCurveCaption();
}

function layOutCurves() {
  if (!panels.length) return;
  const shown = panels.find((panel) => !panel.hidden);
  const width = Math.floor(shown?.clientWidth ?? 0);
  if (!width || width === curveWidth) return;
  curveWidth = width;
  renewCurves();
}

function orderPanels() {
  const places = listPlaces();
  const shown = new Set(places);
  panels.forEach((panel, place) => (panel.hidden = !shown.has(place)));
  find("curve-panels").append(...places.map((place) => panels[place]));
  setPanelStop();
  layOutCurves();
}

function setPanelStop() {
  const stop = panels[state.selected]?.hidden === false
    ? panels[state.selected] : find("curve-panels").querySelector(".panel:not([hidden])");
  for (const panel of panels) panel.tabIndex = panel === stop ? 0 : -1;
}

function markPanels() {
  panels.forEach((panel, place) => {
    panel.classList.toggle("selected", place === state.selected);
    panel.setAttribute("aria-pressed", String(place === state.selected));
  });
  find("curve-panels").classList.toggle("dim", state.selected !== null);
  setPanelStop();
}

function writeCurveCaption() {
  const header = factsOf(state.curve).header;
  const hasPlain = Object.keys(curves.means[state.curve]).length;
  find("curve-caption").textContent = `${header}${describeUnit(state.curve)} of the validation `
    + "split over training steps, a line per seed, on the same axes in all panels."
    + (runs.seed.some((_, i) => statusOf(i) !== "done")
      ? " Dashed lines are runs that are not finished." : "")
    + (hasPlain ? " Dashed in the colour of the text: the mean of plain." : "")
    + (state.curveLog ? "" : " Values of the first fifth of training may be above the axis.");
}

// ---- pointer

// the run of a panel that passes nearest to the pointer: {i, k, px, py}, with its step's index
function findCurve(place, name, {x, y}, px, py) {
  let best = null;
  for (const i of runsOf[place]) {
    const k = d3.minIndex(stepsOf(i), (step) => Math.abs(x(step) - px));
    const value = valuesOf(i, name)[k];
    if (value === undefined || value === null) continue;
    const found = {i, k, value, px: x(stepsOf(i)[k]), py: y(value)};
    if (!best || Math.abs(found.py - py) < Math.abs(best.py - py)) best = found;
  }
  return best;
}

function describeRun(i) {
  const status = statusOf(i) === "done" ? "" : `, ${statusOf(i)}`;
  return `seed ${runs.seed[i]}${status}`;
}

function pointAtCurve(event) {
  const tip = find("curve-tip");
  const panel = event.target.closest(".panel");
  const place = panels.indexOf(panel);
  const root = panel?.querySelector("svg:not(.glyph)");
  unmarkCurve();
  tip.hidden = true;
  if (!root) return;
  const found = findCurve(place, state.curve, scales, ...locate(root, curveWidth, event));
  if (!found) return;
  const {i, k, value} = found;
  root.querySelector(`[data-run="${i}"]`)?.classList.add("hot");
  const header = factsOf(state.curve).header;
  fillTip(tip, groups[place].slot, groups[place].name, [describeRun(i),
    `step ${stepsOf(i)[k].toLocaleString("en")}`,
    `${header} ${writeNumber(value, state.curve)} ${factsOf(state.curve).unit ?? ""}`]);
  const [frame, box] = [find("curve-frame"), root].map((part) => part.getBoundingClientRect());
  const top = Math.min(Math.max(found.py, 0), PANEL_HEIGHT);
  placeTip(tip, frame.width, box.left - frame.left + found.px, box.top - frame.top + top);
}

function unmarkCurve() {
  for (const line of find("curve-panels").querySelectorAll(".hot")) line.classList.remove("hot");
}

function startCurves() {
  if (!curves.names) return;
  find("curves-section").hidden = false;
  for (const name of curves.names)
    find("curve-metric").append(html("option", {value: name}, factsOf(name).header));
  find("curve-metric").addEventListener("change", () => set({curve: find("curve-metric").value}));
  follow(["curve"], () => { find("curve-metric").value = state.curve; });
  find("curve-bar").append(makeToggle("log", ["curveLog"], () => state.curveLog,
    () => set({curveLog: !state.curveLog})));
  panels = groups.map(({short, slot, name}, place) => html("button",
    {type: "button", className: "panel", title: name, onclick: () => select(place)},
    html("span", {className: "name"}, makeGlyph(slot), short)));
  panels.forEach((panel, place) => {
    listenToOpen(panel, () => place);
    panel.addEventListener("keydown", (event) =>
      moveStop([...find("curve-panels").children].filter((one) => !one.hidden), event));
  });
  waiting = new IntersectionObserver((entries) => {
    for (const {isIntersecting, target} of entries)
      if (isIntersecting && !target.dataset.drawn && curveWidth) drawPanel(panels.indexOf(target));
  }, {rootMargin: `${AHEAD} 0px`});
  find("curve-frame").addEventListener("pointermove", pointAtCurve);
  find("curve-frame").addEventListener("pointerleave", () => {
    find("curve-tip").hidden = true;
    unmarkCurve();
  });
  addEventListener("beforeprint", drawAllPanels);
  follow(["sort", "down", "shown", "text", "brushes"], orderPanels);
  follow(["curve", "curveLog"], renewCurves);
  follow(["selected"], markPanels);
  orderPanels();
  markPanels();
}
