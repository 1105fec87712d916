// The plane: one mark per group, at its means of two metrics.

let plane = null; // what is drawn: {size, x, y, places, marks, points}

function drawPlane() {
  const width = Math.max(300, find("plane").clientWidth);
  const height = Math.round(Math.max(300, Math.min(width * 0.85, 640)));
  const known = groups.map((_, place) => place).filter((place) =>
    isShown(place) && mean(place, state.x) !== undefined && mean(place, state.y) !== undefined);
  const [x0, x1, y0, y1] = state.box ?? [];
  const places = known.filter((place) => !state.box || (mean(place, state.x) >= x0
    && mean(place, state.x) <= x1 && mean(place, state.y) >= y0 && mean(place, state.y) <= y1));
  places.sort((a, b) => mean(a, state.x) - mean(b, state.x) || a - b);
  const root = svg("svg", {viewBox: `0 0 ${width} ${height}`, width, height, role: "group",
    "aria-label": `${metrics[state.y].header} over ${metrics[state.x].header}, `
      + `${places.length} groups; arrow keys move between them`});
  find("all").hidden = !state.box;
  if (!places.length) {
    find("plane").replaceChildren(html("p", {className: "quiet"}, 
      "No setting that is shown has both metrics."));
    plane = null;
    return;
  }
  const spanOf = (name, asked, range) =>
    makeScale(places.map((place) => mean(place, name)), asked, range, state.log);
  const x = spanOf(state.x, state.box && [x0, x1], [MARGIN.left, width - MARGIN.right]);
  const y = spanOf(state.y, state.box && [y0, y1], [height - MARGIN.bottom, MARGIN.top]);
  drawAxes(root, x, y, width, height, state.x, state.y);
  const points = places.map((place) => [x(mean(place, state.x)), y(mean(place, state.y))]);
  const layer = root.appendChild(svg("g"));
  const front = [...d3.group(places, (place) => groups[place].data).values()].flatMap(findFront);
  const marks = places.map((place, i) => drawMark(layer, place, points[i], x, y));
  front.forEach((place) => marks[places.indexOf(place)].classList.add("front"));
  drawLabels(root, places, points, front, width, height);
  root.append(svg("path", {class: "seeds"}), svg("text", {class: "label chosen"}));
  const tip = html("div", {className: "tip", hidden: true});
  find("plane").replaceChildren(root, tip);
  plane = {root, tip, x, y, width, height, places, marks, points};
  listenToPointer();
  listenToDrag(plane, (box) => set({box}));
  listenToKeys();
  writeCaption(known.length, front.length);
  drawChosen();
}

function drawMark(layer, place, [px, py], x, y) {
  const {slot, name} = groups[place];
  const token = slots[slot];
  const [a, da] = metric(place, state.x);
  const [b, db] = metric(place, state.y);
  const mark = svg("g", {class: `mark slot-${token.css_name}`, tabindex: -1, role: "button",
    "aria-pressed": "false", "aria-label": [name, ...describePoint(place)].join(", ")});
  const across = da === null ? "" : `M${x(a - da)},${py}H${x(a + da)}`;
  const upright = db === null ? "" : `M${px},${y(b - db)}V${y(b + db)}`;
  mark.append(svg("path", {class: "whiskers", d: across + upright}),
    svg("path", {class: "point", d: token.path, transform: `translate(${px},${py})`}));
  return layer.appendChild(mark);
}

const describePoint = (place) => [state.x, state.y].map(
  (name) => `${metrics[name].header} ${textOf(place, name)}`).concat(`n = ${groups[place].n}`);

// of groups with the same data, those that keep a code and are not beaten on both axes by another
function findFront(places) {
  const [gx, gy] = [metrics[state.x].front, metrics[state.y].front];
  if (!gx || !gy) return [];
  // a saturated mi is a lower bound
  const isBound = (place) => [state.x, state.y].includes("mi")
    && runsOf[place].some((i) => saturated.has(i));
  const kept = places.filter((place) => groups[place].state === "kept" && !isBound(place));
  kept.sort((a, b) => gx * (mean(b, state.x) - mean(a, state.x)));
  let best = -Infinity;
  return kept.filter((place) => {
    const value = gy * mean(place, state.y);
    return value > best && ((best = value), true);
  });
}

// a name on the first free side of its mark: the front first, then the others while there is room
function drawLabels(root, places, points, front, width, height) {
  pen.font = "11.5px system-ui, sans-serif";
  const taken = points.map(([px, py]) => [px - 6, py - 6, px + 6, py + 6]);
  const isFree = ([a, b, c, d]) => a > MARGIN.left && c < width && b > MARGIN.top - 8
    && d < height - MARGIN.bottom
    && !taken.some((box) => a < box[2] && c > box[0] && b < box[3] && d > box[1]);
  const plain = places.filter((place) => groups[place].state === "baseline");
  for (const place of new Set([state.selected, ...front, ...plain, ...places])) {
    if (!places.includes(place)) continue;
    const [px, py] = points[places.indexOf(place)];
    const text = groups[place].short;
    const wide = pen.measureText(text).width * (front.includes(place) ? 1.08 : 1) + 2;
    const beside = [[px + 8, py - 7], [px - 8 - wide, py - 7], [px - wide / 2, py - 22],
      [px - wide / 2, py + 8]];
    const oblique = [[px + 6, py - 19], [px + 6, py + 5], [px - 6 - wide, py - 19],
      [px - 6 - wide, py + 5]];
    // whiskers would cross a name beside its mark
    const sides = front.includes(place) ? [...oblique, ...beside] : [...beside, ...oblique];
    const box = sides.map(([left, top]) => [left, top, left + wide, top + 14]).find(isFree);
    if (!box) continue;
    taken.push(box);
    const kind = front.includes(place) ? "label front" : "label";
    root.append(svg("text", {x: box[0], y: box[3] - 3, class: kind}, text));
  }
}

function isBeyond(value, scale) {
  const [low, high] = d3.extent(scale.domain());
  return value < low || value > high;
}

// marks of groups beyond the axes stand on their edge, drawn hollow; their number
function markFar() {
  const {x, y, places, marks} = plane;
  const far = places.map((place) =>
    isBeyond(mean(place, state.x), x) || isBeyond(mean(place, state.y), y));
  far.forEach((isFar, i) => marks[i].classList.toggle("far", isFar));
  return d3.sum(far);
}

function writeCaption(total, front) {
  const {places} = plane;
  const beyond = markFar();
  const parts = ["Means over seeds."];
  if (front) parts.push(`Whiskers (95 % t-intervals) and bold names: the ${front} that keep a code `
    + "and are not beaten on both axes by another.");
  parts.push("Select one for its interval and its seeds (+); drag a box to enlarge it, "
    + "and double-click to see all again.");
  if (state.box) parts.push(`${places.length} of ${total} are in the box.`);
  if (beyond) parts.push(`${beyond} far from all others stand${beyond === 1 ? "s" : ""} on the `
    + "edge of the axes (hollow).");
  find("plane-caption").textContent = parts.join(" ");
}

// ---- selection, pointer, keyboard

function drawChosen() {
  if (!plane) return;
  const {root, x, y, places, marks} = plane;
  const chosen = places.indexOf(state.selected);
  root.classList.toggle("dim", chosen >= 0);
  marks.forEach((mark, i) => {
    mark.classList.toggle("selected", i === chosen);
    mark.setAttribute("aria-pressed", String(i === chosen));
    mark.setAttribute("tabindex", i === Math.max(chosen, 0) ? 0 : -1);
  });
  const name = root.querySelector(".chosen");
  name.textContent = chosen < 0 ? "" : groups[state.selected].short;
  if (chosen >= 0) {
    const [px, py] = plane.points[chosen];
    const isRight = px > plane.width / 2;
    const at = {x: isRight ? px - 9 : px + 9, y: py - 9, "text-anchor": isRight ? "end" : "start"};
    for (const [key, value] of Object.entries(at)) name.setAttribute(key, value);
  }
  const values = runs.group.map((place, i) => place === state.selected
    ? [runs.m[state.x][i], runs.m[state.y][i]] : [null, null]);
  root.querySelector(".seeds").setAttribute("d", chosen < 0 ? "" : values
    .filter(([a, b]) => a !== null && b !== null)
    .map(([a, b]) => `M${x(a) - 4},${y(b)}h8M${x(a)},${y(b) - 4}v8`).join(""));
}

function showTip(i) {
  const {tip, places, points, width} = plane;
  const {name, slot} = groups[places[i]];
  fillTip(tip, slot, name, describePoint(places[i]));
  placeTip(tip, width, ...points[i]);
}

const hideTip = () => { if (plane) plane.tip.hidden = true; };

// which mark the pointer is nearest to, or -1
function findNearest(event) {
  const [px, py] = locate(plane.root, plane.width, event);
  const distances = plane.points.map(([a, b]) => Math.hypot(a - px, b - py));
  const best = d3.minIndex(distances);
  return distances[best] <= REACH ? best : -1;
}

function listenToPointer() {
  const {root, places} = plane;
  root.addEventListener("pointermove", (event) => {
    const nearest = event.buttons ? -1 : findNearest(event);
    if (nearest < 0) hideTip();
    else showTip(nearest);
  });
  root.addEventListener("pointerleave", hideTip);
  root.addEventListener("click", (event) => {
    if (event.detail === 0) return; // from the keyboard
    const nearest = findNearest(event);
    if (nearest >= 0) select(places[nearest]);
  });
}

function listenToKeys() {
  const {places, marks} = plane;
  marks.forEach((mark, i) => {
    mark.addEventListener("focus", () => showTip(i));
    mark.addEventListener("blur", hideTip);
    mark.addEventListener("keydown", (event) => moveStop(marks, event));
    listenToOpen(mark, () => places[i]);
  });
}

function startPlane() {
  if (!axes.length) return;
  for (const axis of ["x", "y"]) {
    const choice = find(`${axis}-axis`);
    for (const [name, {header}] of Object.entries(metrics))
      choice.append(html("option", {value: name}, header));
    choice.addEventListener("change", () => set({[axis]: choice.value, box: null}));
    follow([axis], () => { choice.value = state[axis]; });
    choice.value = state[axis];
  }
  const log = makeToggle("log", ["log"], () => state.log, () => set({log: !state.log, box: null}));
  find("axes").insertBefore(log, find("all"));
  find("all").addEventListener("click", () => set({box: null}));
  follow(["x", "y", "log", "box", "shown", "text", "brushes"], drawPlane);
  follow(["selected"], drawChosen);
  drawPlane();
}
