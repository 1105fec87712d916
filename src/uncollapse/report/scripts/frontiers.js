// Frontiers: what each head costs over how much its code carries, along the values of its knob.

const NEAR_RUN = 12; // pixels
let frontierView = null; // what is drawn: {root, tip, x, y, width, curves}

const shownFrontier = () => frontiers[state.frontier];

function drawFrontiers() {
  if (!frontiers.length) return;
  const {x: nameX, y: nameY, limits, curves: all, beyond} = shownFrontier();
  const frame = find("frontier-plot");
  const width = Math.max(300, frame.clientWidth);
  const height = Math.round(Math.max(300, Math.min(width * 0.5, 560)));
  const {frontierBox: box, frontierLog: log} = state;
  const [spanX, spanY] = box ? [box.slice(0, 2), box.slice(2)] : limits;
  const heights = all.flatMap(({runs: own}) => own.map((i) => runs.m[nameY][i]));
  // runs beyond the axes stand on their edge, but not on that of a box
  const x = makeScale([], spanX, [MARGIN.left, width - MARGIN.right], false).clamp(!box);
  const y = makeScale(heights, spanY, [height - MARGIN.bottom, MARGIN.top], log).clamp(!box);
  const root = svg("svg", {viewBox: `0 0 ${width} ${height}`, width, height, role: "group",
    "aria-label": `${metrics[nameY].header} over ${metrics[nameX].header}, ${all.length} curves; `
      + "arrow keys move between them"});
  drawAxes(root, x, y, width, height, nameX, nameY);
  const layer = root.appendChild(box ? svg("svg", frameInside(width, height)) : svg("g"));
  const drawn = all.filter(({places}) => places.some(isShown))
    .map((curve) => drawFrontier(layer, curve, x, y, nameX, nameY)).filter(keepVisible);
  nameFrontiers(root, drawn, width, height);
  const tip = html("div", {className: "tip", hidden: true});
  frame.replaceChildren(root, tip);
  frontierView = {root, tip, x, y, width, curves: drawn};
  listenToFrontiers();
  listenToDrag(frontierView, (asked) => set({frontierBox: asked}));
  find("frontier-all").hidden = !box;
  find("frontier-caption").textContent = writeFrontierCaption(beyond);
  markFrontiers();
}

// an svg of its own cuts off what is beyond the axes
function frameInside(width, height) {
  const {left, right, top, bottom} = MARGIN;
  const sides = {x: left, y: top, width: width - left - right, height: height - top - bottom};
  return {...sides, viewBox: Object.values(sides).join(" ")};
}

function drawFrontier(layer, curve, x, y, nameX, nameY) {
  const {name, slot, places, runs: own, line: [xs, means, halves]} = curve;
  const points = own.map((i) => [x(runs.m[nameX][i]), y(runs.m[nameY][i])]);
  const line = xs.map((value, k) => [x(value), means[k] === null ? NaN : y(means[k])]);
  const sides = [1, -1].map((sign) => xs.map((value, k) => [x(value), halves[k] === null
    ? NaN : y(means[k] + sign * halves[k])]).filter(([, py]) => Number.isFinite(py)));
  const band = sides[0].length > 1
    ? `${tracePath([...sides[0], ...sides[1].reverse()])}Z` : "";
  const group = layer.appendChild(svg("g", {class: `frontier slot-${slots[slot].css_name}`,
    role: "button", tabindex: -1, "aria-pressed": "false", "aria-label":
      `${name}: ${metrics[nameX].header} ${writeSpan(own, nameX)}, `
      + `${metrics[nameY].header} ${writeSpan(own, nameY)}`}));
  group.append(svg("path", {class: "band", d: band}),
    svg("path", {class: "seed-lines", d: traceSeeds(own, points)}),
    svg("path", {class: "line", d: tracePath(line)}));
  own.forEach((i, k) => group.append(svg("circle", {cx: points[k][0], cy: points[k][1], r: 2.6,
    class: unconverged.has(i) ? "seed hollow" : "seed"})));
  const isInside = ([px, py]) => isWithin(px, x.range()) && isWithin(py, y.range());
  return {...curve, group, points, isInside, shape: line.filter(isInside)};
}

function isWithin(pixel, range) {
  const [low, high] = d3.extent(range);
  return pixel >= low && pixel <= high;
}

// a curve with nothing inside the axes is removed, as is its stop of the tab key
function keepVisible({group, points, shape, isInside}) {
  const isVisible = shape.length > 0 || points.some(isInside);
  if (!isVisible) group.remove();
  return isVisible;
}

// the runs of each seed, joined in the order of the knob, which is that of the runs
function traceSeeds(own, points) {
  const seeds = d3.group(own.keys(), (k) => runs.seed[own[k]]);
  return [...seeds.values()].map((ks) => tracePath(ks.map((k) => points[k]))).join("");
}

function writeSpan(own, name) {
  const [low, high] = d3.extent(own, (i) => runs.m[name][i]);
  return `${writeNumber(low, name)} to ${writeNumber(high, name)}`;
}

// a name at the end of its curve, while there is room
function nameFrontiers(root, drawn, width, height) {
  pen.font = "11.5px system-ui, sans-serif";
  const taken = [];
  for (const curve of drawn) {
    const [px, py] = curve.shape.at(-1) ?? curve.points.findLast(curve.isInside);
    const wide = pen.measureText(curve.name).width + 4;
    const spots = [[px + 6, py - 7], [px - wide / 2, py - 20], [px - wide / 2, py + 7],
      [px - wide - 8, py - 7], [px - wide, py - 22], [px + 4, py + 5]];
    const isFree = ([a, b, c, d]) => a > MARGIN.left && c < width && b > 14
      && d < height - MARGIN.bottom
      && !taken.some((one) => a < one[2] && c > one[0] && b < one[3] && d > one[1]);
    const box = spots.map(([left, top]) => [left, top, left + wide, top + 14]).find(isFree);
    if (!box) continue;
    taken.push(box);
    curve.label = root.appendChild(svg("text", {x: box[0], y: box[3] - 3, class: "label"},
      curve.name));
  }
}

function writeFrontierCaption(beyond) {
  return "A line per head: the mean over seeds, interpolated between the values of its knob, in "
    + "the span that all seeds share; points: seeds, hollow where training had not converged. "
    + "0 is plain; lower is better at equal information. Select a curve for the band of its "
    + "95 % t-interval; drag a box to enlarge it, and double-click to see all again."
    + (state.frontierBox ? ` ${countInside()}` : "") + (beyond && !state.frontierBox
    ? ` ${beyond} runs are beyond the axes, on their edge.` : "");
}

function countInside() {
  const inside = d3.sum(frontierView.curves, ({points, isInside}) => d3.sum(points, isInside));
  const total = d3.sum(shownFrontier().curves, ({runs: own}) => own.length);
  return `${inside} of ${total} runs are in the box.`;
}

// the curve of the selected group stands out
function markFrontiers() {
  if (!frontierView) return;
  const {root, curves: drawn} = frontierView;
  const chosen = drawn.findIndex(({places}) => places.includes(state.selected));
  root.classList.toggle("dim", chosen >= 0);
  drawn.forEach(({group, label}, i) => {
    for (const part of [group, label]) part?.classList.toggle("selected", i === chosen);
    group.setAttribute("aria-pressed", String(i === chosen));
    group.setAttribute("tabindex", i === Math.max(chosen, 0) ? 0 : -1);
  });
  if (chosen >= 0) drawn[chosen].group.parentElement.append(drawn[chosen].group);
}

// ---- pointer and keyboard

// the nearest run or, if none is near, the nearest point of a curve: {curve, i, k, px, py}
function findFrontier(px, py) {
  const {curves: drawn} = frontierView;
  const nearest = (listPoints) => {
    let best = null;
    for (const curve of drawn)
      listPoints(curve).forEach(([qx, qy], k) => {
        if (!curve.isInside([qx, qy])) return;
        const far = Math.hypot(qx - px, qy - py);
        if (!best || far < best.far) best = {curve, k, far, px: qx, py: qy};
      });
    return best;
  };
  const run = nearest(({points}) => points);
  if (run && run.far <= NEAR_RUN) return {...run, i: run.curve.runs[run.k]};
  const line = nearest(({shape}) => shape);
  return line && line.far <= REACH ? {...line, i: findRunBeside(line)} : null;
}

// the run of a curve that is nearest to a point of it
function findRunBeside({curve, px, py}) {
  return curve.runs[d3.minIndex(curve.points, ([qx, qy]) => Math.hypot(qx - px, qy - py))];
}

function showFrontierTip({curve, i, px, py}) {
  const {tip, width} = frontierView;
  const {x, y} = shownFrontier();
  const place = runs.group[i];
  fillTip(tip, curve.slot, groups[place].name, [describeRun(i),
    `${metrics[x].header} ${writeNumber(runs.m[x][i], x)}`,
    `${metrics[y].header} ${writeNumber(runs.m[y][i], y, null, "+")}`]);
  placeTip(tip, width, px, py);
}

function listenToFrontiers() {
  const {root, tip, width, curves: drawn} = frontierView;
  root.addEventListener("pointermove", (event) => {
    const found = event.buttons ? null : findFrontier(...locate(root, width, event));
    for (const {group} of drawn) group.classList.toggle("hot", group === found?.curve.group);
    if (found) showFrontierTip(found);
    else tip.hidden = true;
  });
  root.addEventListener("pointerleave", () => (tip.hidden = true));
  root.addEventListener("click", (event) => {
    if (event.detail === 0) return; // from the keyboard
    const found = findFrontier(...locate(root, width, event));
    if (found) select(runs.group[found.i]);
  });
  const stops = drawn.map(({group}) => group);
  for (const curve of drawn) {
    const middle = curve.places[Math.floor(curve.places.length / 2)];
    curve.group.addEventListener("focus", () => curve.group.classList.add("hot"));
    curve.group.addEventListener("blur", () => curve.group.classList.remove("hot"));
    curve.group.addEventListener("keydown", (event) => moveStop(stops, event));
    listenToOpen(curve.group, () => (curve.places.includes(state.selected)
      ? state.selected : middle));
  }
}

function startFrontiers() {
  if (!frontiers.length) return;
  find("frontiers-section").hidden = false;
  const choice = find("frontier-axis");
  frontiers.forEach(({x}, i) => choice.append(html("option", {value: i}, metrics[x].header)));
  choice.addEventListener("change", () =>
    set({frontier: Number(choice.value), frontierBox: null}));
  follow(["frontier"], () => { choice.value = state.frontier; });
  const log = makeToggle("log", ["frontierLog"], () => state.frontierLog,
    () => set({frontierLog: !state.frontierLog, frontierBox: null}));
  find("frontier-bar").insertBefore(log, find("frontier-all"));
  find("frontier-all").addEventListener("click", () => set({frontierBox: null}));
  follow(["frontier", "frontierLog", "frontierBox", "shown", "text", "brushes"], drawFrontiers);
  follow(["selected"], markFrontiers);
  drawFrontiers();
}
