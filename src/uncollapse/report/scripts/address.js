// The address: #head=...&x=...&find=..., whatever is not as at first. Values that do not exist here
// are left out, so that an address of an earlier page still works.

const findKey = (key) => groups.findIndex((group) => group.key === key);

// four finite numbers, or null
function readBox(text) {
  const numbers = (text ?? "").split(",").map(Number);
  return text && numbers.length === 4 && numbers.every(Number.isFinite) ? numbers : null;
}

// name of an axis -> [lowest, highest], from texts "name:lowest:highest"
function readBrushes(texts) {
  const brushes = {};
  for (const text of texts) {
    const [high, low, ...name] = text.split(":").reverse();
    const range = [Number(low), Number(high)];
    if (name.length && !range.some(Number.isNaN)) brushes[name.reverse().join(":")] = range;
  }
  return brushes;
}

function readAddress() {
  if (!location.hash.includes("=")) return;
  const asked = new URLSearchParams(location.hash.slice(1));
  const isOn = (word) => asked.get(word) === "1";
  const change = {selected: null, against: null, log: isOn("log"), curveLog: isOn("curve-log"),
    frontierLog: isOn("frontier-log"), down: isOn("down"), all: isOn("all"), more: isOn("more"),
    text: (asked.get("find") ?? "").toLowerCase(), sort: null, box: readBox(asked.get("box")),
    frontierBox: readBox(asked.get("frontier-box")), brushes: readBrushes(asked.getAll("range"))};
  for (const axis of ["x", "y"])
    if (Object.hasOwn(metrics, asked.get(axis))) change[axis] = asked.get(axis);
  for (const [key, word] of [["selected", "head"], ["against", "with"]]) {
    const place = findKey(asked.get(word));
    if (place >= 0) change[key] = place;
  }
  if (columns.includes(asked.get("sort"))) change.sort = asked.get("sort");
  const isSlot = (slot) => slot && Object.hasOwn(slots, slot);
  change.shown = new Set((asked.get("slots") ?? "").split(",").filter(isSlot));
  if (curves.names?.includes(asked.get("curve"))) change.curve = asked.get("curve");
  const axis = frontiers.findIndex(({x}) => x === asked.get("frontier"));
  if (axis >= 0) change.frontier = axis;
  const place = Number(asked.get("knobs"));
  if (Number.isInteger(place) && place >= 0 && place < knobs.length) change.knobSet = place;
  set(change);
}

// the words of the address that the state differs in from the page as it opens
function listAddress() {
  const {selected, against} = state;
  return [
    ["head", selected !== null && groups[selected].key],
    ["with", against !== null && groups[against].key],
    ["x", state.x], ["y", state.y], ["log", state.log && "1"],
    ["box", state.box?.join()],
    ["find", state.text], ["slots", [...state.shown].join()],
    ["sort", state.sort], ["down", state.down && "1"], ["all", state.all && "1"],
    ["more", state.more && "1"],
    ["curve", state.curve !== curves.names?.[0] && state.curve],
    ["curve-log", state.curveLog && "1"],
    ["frontier", state.frontier && frontiers[state.frontier].x],
    ["frontier-log", state.frontierLog && "1"],
    ["frontier-box", state.frontierBox?.join()],
    ["knobs", state.knobSet && String(state.knobSet)],
    ...Object.entries(state.brushes).map(([name, range]) => ["range", [name, ...range].join(":")]),
  ].filter(([, value]) => value);
}

function writeAddress() {
  try {
    history.replaceState(null, "", `#${new URLSearchParams(listAddress())}`);
  } catch {
    // a preview without an address of its own
  }
}

// a link to a place on the page leads there and leaves the address as it is
function followLink(event) {
  const link = event.target.closest?.('a[href^="#"]');
  const target = link && find(decodeURIComponent(link.hash.slice(1)));
  if (!target || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  target.closest("details")?.setAttribute("open", "");
  target.scrollIntoView();
  if (target.tabIndex < 0) target.tabIndex = -1;
  target.focus({preventScroll: true});
  if (link.closest(".answers")) showRows(link, target);
}

function startAddress() {
  readAddress();
  follow(Object.keys(state).filter((key) => key !== "allAnswers"), writeAddress);
  addEventListener("hashchange", readAddress);
  document.addEventListener("click", followLink);
}
