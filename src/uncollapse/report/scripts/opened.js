// The opened head: what its file says, the comparison with another one, its dimensions, curves
// and runs.

const BARS = {width: 420, height: 170};
const SMALL = {width: 248, height: PANEL_HEIGHT};
const TEXTS = ["status", "folder", "command"]; // columns that are no numbers
const RUN_COLUMNS = ["mi", "shuffle_gap", "d_nll", "nll", "kl", "probe"];

// what the opened head is compared with: the one that was chosen, or plain
function findOther() {
  const {selected, against} = state;
  return [against, groups[selected].plain].find((other) =>
    other !== null && other !== selected && isComparable(selected, other)) ?? null;
}

const isComparable = (one, other) => groups[one].data === groups[other].data;

// ---- comparison

// the differences of a metric on the seeds that both groups have
function pairSeeds(place, other, name) {
  const partners = new Map(runsOf[other].map((i) => [runs.seed[i], i]));
  return runsOf[place].flatMap((i) => {
    const j = partners.get(runs.seed[i]);
    if (j === undefined) return [];
    // an nll from other numbers of samples is no partner
    const isAlike = runs.sampling[i] !== null && runs.sampling[i] === runs.sampling[j];
    if (metrics[name].sampled && !isAlike) return [];
    const [own, reference] = [runs.m[name][i], runs.m[name][j]];
    return own === null || reference === null ? [] : [own - reference];
  });
}

// mean and half-width of the t-interval; null where there are too few values
function findInterval(values) {
  const n = values.length;
  if (n < 2) return [values[0] ?? null, null];
  return [d3.mean(values), quantiles[n] * d3.deviation(values) / Math.sqrt(n)];
}

function compareHeads(place, other) {
  return compared.map((name) => {
    const differences = pairSeeds(place, other, name);
    const [middle, half] = findInterval(differences);
    return {name, n: differences.length, text: writeNumber(middle, name, half, "+"),
      isClear: half !== null && Math.abs(middle) > half};
  });
}

function drawComparison(place, other) {
  if (other === null) {
    const hasOthers = groups.some((_, p) => p !== place && isComparable(place, p));
    return html("p", {className: "quiet"}, hasOthers
      ? "Choose a head to compare with, above." : "There is no other head on these data.");
  }
  const rows = compareHeads(place, other);
  // on a phone the first columns show
  const first = ["", "difference", groups[place].short, groups[other].short, "n"];
  const body = rows.map(({name, n, text, isClear}) => html("tr", {},
    html("th", {scope: "row"}, metrics[name].header, html("span", {className: "half"},
      metrics[name].unit ? ` ${metrics[name].unit}` : "")),
    html("td", {}, n ? (isClear ? html("b", {}, text) : text) : "no shared seed"),
    html("td", {}, textOf(place, name)), html("td", {}, textOf(other, name)),
    html("td", {}, n)));
  const isBound = [place, other].some((p) => runsOf[p].some((i) => saturated.has(i)));
  return html("div", {},
    makeTable("Comparison", [first, ...body]),
    html("p", {className: "notes"}, warnOfUnequal(place, other)),
    html("p", {className: "quiet notes"}, "Difference: paired by seed, mean ± half-width of the "
      + "95 % t-interval over the n shared seeds; bold where the interval excludes 0, without an "
      + "adjustment for the number of comparisons."
      + (isBound ? " A saturated mi (≥) is a lower bound, so its difference is unreliable." : "")));
}

// a sentence where the two keep different amounts of information, which a price depends on
function warnOfUnequal(place, other) {
  const [own, its] = [place, other].map((p) => metrics.mi && mean(p, "mi"));
  const isPlain = other === groups[place].plain;
  if (isPlain || !own || !its || Math.abs(own - its) < 0.1 * Math.max(own, its)) return "";
  return `They keep different amounts of information (mi ${textOf(place, "mi")} and `
    + `${textOf(other, "mi")}), so one may cost more because it keeps more.`
    + (find("frontier") ? " Equal information, below, compares remedies at the same amount." : "");
}

function makeTable(label, [first, ...rows]) {
  const head = html("tr", {}, ...first.map((text) => html(text ? "th" : "td",
    text ? {scope: "col", className: TEXTS.includes(text) ? "words" : ""} : {}, text)));
  return html("div", {className: "wide", tabIndex: 0, role: "group", ariaLabel: label},
    html("table", {}, html("thead", {}, head), html("tbody", {}, ...rows)));
}

// ---- what the file says: a copy of the page's own text

function drawDescription(place) {
  const {head, settings, changes} = groups[place];
  const source = [...document.querySelectorAll("[data-head]")]
    .find((element) => element.dataset.head === head);
  const parts = [...source?.querySelector(".description").children ?? []];
  const facts = [settings && `Settings: ${settings}.`, changes && `Changes: ${changes}.`];
  return html("div", {},
    html("p", {}, facts.filter(Boolean).join(" ") || "As its file says."),
    ...parts.map((part) => fillKnobs(part.cloneNode(true), settings)));
}

// the lines of Python with the settings of the opened row in place of the defaults
function fillKnobs(part, settings) {
  const given = new Map(settings.split(", ").map((text) => text.split("=")));
  for (const [knob, word] of Object.entries(JSON.parse(part.dataset.words ?? "{}")))
    if (given.has(knob))
      part.textContent = part.textContent
        .replace(word, () => `${word.split("=")[0]}=${given.get(knob)}`);
  return part;
}

// ---- KL per dimension

function drawDimensions(place) {
  const done = runsOf[place].filter((i) => statusOf(i) === "done");
  const shown = (done.length ? done : runsOf[place]).filter((i) => dimensions.count[i]);
  if (!shown.length)
    return html("p", {className: "quiet"}, "The KL of this head does not split over dimensions.");
  const count = d3.max(shown, (i) => dimensions.kl[i].length) || 1;
  const total = d3.max(shown, (i) => dimensions.count[i]);
  const kl = (i, k) => dimensions.kl[i][k] ?? 0;
  const {width, height} = BARS;
  const most = d3.max(shown, (i) => kl(i, 0)) || 1;
  const y = d3.scaleLinear([0, most], [height - 22, 10]).nice(4);
  const step = (width - 44) / Math.max(count, 8);
  const means = d3.range(count).map((k) => d3.mean(shown, (i) => kl(i, k)));
  const largest = means.slice(0, 5).map((value) => writeNumber(value, "kl")).join(", ");
  const root = svg("svg", {viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-label": `KL of ${total} dimensions, largest first: ${largest}`
      + `${count > 5 ? " and smaller" : ""} nats`});
  const add = (kind, attributes, ...inside) => root.append(svg(kind, attributes, ...inside));
  for (const tick of y.ticks(4)) {
    add("line", {x1: 40, x2: width - 4, y1: y(tick), y2: y(tick), class: "grid"});
    add("text", {x: 35, y: y(tick) + 4, "text-anchor": "end", class: "soft"}, writeTick(tick));
  }
  const kind = `slot-${slots[groups[place].slot].css_name}`;
  means.forEach((value, k) => {
    const left = 42 + k * step;
    add("rect", {x: left, width: Math.max(step - 2, 1), y: y(value), height: y(0) - y(value),
      class: `bar-of ${kind}`});
    for (const i of shown)
      add("circle", {cx: left + (step - 2) / 2, cy: y(kl(i, k)), r: Math.min(2.2, step / 3),
        class: "seed"});
  });
  add("text", {x: 42, y: height - 6, class: "soft"}, "largest");
  const rest = total - count;
  return html("figure", {}, root, html("figcaption", {},
    `KL (nats) of each dimension, the dimensions of each seed sorted by their KL, since those of `
    + `two seeds do not correspond. Bars: means over ${shown.length} seed`
    + `${shown.length > 1 ? "s" : ""}; points: seeds.`
    + (rest ? ` The other ${rest} of ${total} are below 0.0005.` : "")));
}

// ---- curves of every metric

function drawOwnCurves(place, other) {
  if (!curves.names) return "";
  const figures = curves.names.map((name) => {
    const {width, height} = SMALL;
    const own = makeCurveScales(name, width, height);
    const drawn = drawCurve(place, name, own, width, height, other);
    return html("figure", {}, html("figcaption", {}, factsOf(name).header + describeUnit(name)),
      drawn);
  });
  const isPlain = other === groups[place].plain;
  const words = other === null ? "" : ` Grey: ${groups[other].name}.`;
  return html("div", {}, html("div", {className: "own-curves"}, ...figures),
    html("p", {className: "quiet notes"}, "Validation split over training, a line per seed."
      + (groups[place].plain === null
        ? "" : " Dashed in the colour of the text: the mean of plain.")
      + (isPlain ? "" : words)));
}

// ---- runs and samples

function drawRuns(place) {
  const names = RUN_COLUMNS.filter((name) => Object.hasOwn(metrics, name));
  const lines = find("commands").textContent.split("\n");
  const first = ["seed", "status", "step", ...names.map((name) => metrics[name].header), "folder",
    "command"];
  const rows = runsOf[place].map((i) => {
    const numbers = names.map((name) =>
      html("td", {}, writeNumber(runs.m[name][i], name, null, name === "d_nll" ? "+" : "")));
    const status = statusOf(i) + (unconverged.has(i) ? " §" : "");
    const why = runs.message[i];
    return html("tr", {}, html("th", {scope: "row"}, runs.seed[i]),
      html("td", {className: `${statusOf(i)} words`}, status, why ? html("br") : "", why ?? ""),
      html("td", {}, runs.step[i].toLocaleString("en")), ...numbers,
      html("td", {className: "words"}, html("code", {}, runs.folder[i])),
      html("td", {className: "words"}, html("code", {}, lines[runs.command[i]] ?? "")));
  });
  return makeTable("Runs", [first, ...rows]);
}

function findSamples(place) {
  const start = `${groups[place].group}, seed `;
  return [...document.querySelectorAll("main > details")]
    .find((element) => element.firstElementChild.textContent.startsWith(start));
}

function drawSamplesLink(place) {
  const samples = findSamples(place);
  if (!samples) return "";
  const show = () => {
    samples.open = true;
    samples.scrollIntoView();
    samples.firstElementChild.focus({preventScroll: true});
  };
  return html("p", {}, html("button", {type: "button", onclick: show}, "samples of this head"));
}

// ---- the section

function drawOpened() {
  const section = find("opened");
  const place = state.selected;
  section.hidden = place === null;
  if (place === null) {
    drawJump();
    return;
  }
  const other = findOther();
  const {name, slot, n} = groups[place];
  find("opened-title").replaceChildren(makeGlyph(slot), `${name}, n = ${n}`);
  listOthers(place, other);
  const part = (title, ...inside) => html("section", {}, html("h3", {}, title), ...inside);
  const column = (...inside) => html("div", {}, ...inside);
  find("opened-parts").replaceChildren(
    column(part("What it is", drawDescription(place), drawSamplesLink(place))),
    column(part("Comparison", drawComparison(place, other)),
      part("KL per dimension", drawDimensions(place))),
    part("Training", drawOwnCurves(place, other)),
    part("Runs", drawRuns(place)));
  drawJump();
}

// every other head on the same data, in the order of the table
function listOthers(place, other) {
  const options = groups.map(({name}, p) => html("option", {value: p}, name))
    .filter((_, p) => p !== place && isComparable(place, p));
  if (other === null) options.unshift(html("option", {value: ""}, "–"));
  find("against").replaceChildren(...options);
  find("against").value = other ?? "";
}

function showOpened() {
  find("opened").scrollIntoView({block: "start"});
  find("opened-title").focus({preventScroll: true});
}

// a button that leads to the section where it is out of sight
function drawJump() {
  const jump = find("jump");
  const isOpen = state.selected !== null;
  jump.hidden = !isOpen || isOpenedInSight;
  if (jump.hidden) return;
  const where = find("opened").getBoundingClientRect().top > 0 ? "↓" : "↑";
  jump.textContent = `${groups[state.selected].short}: details ${where}`;
}

let isOpenedInSight = false;

function startOpened() {
  find("against").addEventListener("change", () => {
    const chosen = find("against").value;
    set({against: chosen === "" ? null : Number(chosen)});
  });
  find("close").addEventListener("click", closeHead);
  find("jump").addEventListener("click", showOpened);
  new IntersectionObserver((entries) => {
    isOpenedInSight = entries.at(-1).isIntersecting;
    drawJump();
  }).observe(find("opened"));
  follow(["selected", "against"], drawOpened);
  drawOpened();
}
