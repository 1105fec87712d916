// Asks every two seconds what is being trained, and shows a new page of the report in place of the
// old one, with the same selection, filters and scroll position. Text enters the page as text.

const EVERY = 2000; // milliseconds
const WAIT = 20000; // for an answer
// what a reader has chosen on the page and its address does not keep
const KEPT = ["allAnswers"];

const find = (id) => document.getElementById(id);
let frame = null; // that shows the page
let shownTag = ""; // of the page that is shown
let statusText = "";

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// ---- the sweep

// what is wrong at present; the same text is not announced twice
function sayProblem(text) {
  if (find("connection").textContent !== text) find("connection").textContent = text;
}

function drawRun({name, state, text, share, row}) {
  const progress = [];
  if (share !== null && state === "running") {
    progress.push(element("progress", {max: 1, value: share, ariaLabel: `progress of ${name}`}));
  }
  return element(
    "tr",
    {},
    element("th", {scope: "row"}, name),
    element("td", {className: state}, state),
    element("td", {className: state === "running" ? "" : "message"}, ...progress, text),
    element("td", {}, row),
  );
}

function drawStatus({head, notes, runs}) {
  find("head").textContent = head;
  find("notes").replaceChildren(...notes.map((note) => element("li", {}, note)));
  find("runs").tBodies[0].replaceChildren(...runs.map(drawRun));
  find("details").hidden = !runs.length && !notes.length;
}

// ---- the page

const stateOf = (window) => window?.uncollapsePage?.state ?? null;

function keepState(from, to) {
  const [old, page] = [stateOf(from), to.uncollapsePage];
  if (old && page?.state) page.set(Object.fromEntries(KEPT.map((key) => [key, old[key]])));
  const focused = from.document.activeElement?.id;
  if (focused) to.document.getElementById(focused)?.focus({preventScroll: true});
  to.scrollTo(from.scrollX, from.scrollY);
}

// the scripts of a page may end after it is loaded; a page without data has none
async function untilReady({contentDocument: page}) {
  for (let tried = 0; tried < 100 && page?.getElementById("data"); tried += 1) {
    if (page.documentElement.dataset.ready) return;
    await new Promise((resolve) => { setTimeout(resolve, 100); });
  }
}

function takePage(tag) {
  const address = frame ? frame.contentWindow.location.hash : location.hash;
  const next = element("iframe", {title: "Report", className: frame ? "next" : ""});
  next.addEventListener("load", async () => {
    await untilReady(next);
    // a page that could not be loaded leaves the old one in place
    if (!next.contentDocument?.querySelector("main")) {
      next.remove();
      shownTag = "";
      return;
    }
    if (frame) keepState(frame.contentWindow, next.contentWindow);
    next.className = "";
    frame?.remove();
    frame = next;
    document.documentElement.dataset.page = tag;
  }, {once: true});
  next.src = `page?${encodeURIComponent(tag)}${address}`;
  document.querySelector("main").append(next);
  shownTag = tag;
}

function keepAddress() {
  // the address of this window, so that it can be copied and survives a reload
  const hash = frame?.contentWindow?.location.hash;
  if (hash && hash !== location.hash) history.replaceState(null, "", hash);
}

// ---- the clock

async function ask() {
  try {
    const answer = await fetch("status.json", {
      cache: "no-cache",
      signal: AbortSignal.timeout(WAIT),
    });
    if (!answer.ok) throw new Error(answer.statusText);
    const text = await answer.text();
    const status = JSON.parse(text);
    sayProblem(status.problem ?? "");
    if (text !== statusText && status.head) drawStatus(status);
    statusText = text;
    if (status.page && status.page !== shownTag) takePage(status.page);
    keepAddress();
  } catch {
    sayProblem("No answer from the command; asking again.");
  }
  setTimeout(ask, EVERY);
}

ask();
