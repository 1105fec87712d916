// Sentences: the first few, the others on request (print has all), and the rows that they mean.

const MOST_ANSWERS = 8; // of each data set
const FIRST_ANSWERS = 3; // on a narrow screen
const NARROW = matchMedia("(max-width: 559px)");

function startAnswers() {
  const section = document.querySelector(".answers");
  const sentences = [...section.querySelectorAll("p")];
  const most = MOST_ANSWERS * new Set(groups.map(({data}) => data)).size;
  const button = html("button", {type: "button", id: "more-answers"});
  const draw = () => {
    const first = NARROW.matches ? FIRST_ANSWERS : most;
    const rest = sentences.slice(first);
    const cautions = rest.filter((sentence) => sentence.classList.contains("caution")).length;
    const more = `${rest.length} more sentence${rest.length > 1 ? "s" : ""}`
      + (cautions ? `, with ${cautions} caution${cautions > 1 ? "s" : ""}` : "");
    sentences.forEach((sentence, i) => {
      sentence.classList.toggle("later", i >= first && !state.allAnswers);
      // the button comes after the sentences that it shows, so the focus goes to the first of them
      if (i === first) sentence.tabIndex = -1;
    });
    button.hidden = !rest.length;
    button.textContent = state.allAnswers ? `first ${first} sentences only` : more;
    button.setAttribute("aria-expanded", String(state.allAnswers));
  };
  button.addEventListener("click", () => {
    const first = sentences.find((sentence) => sentence.matches(".later"));
    set({allAnswers: !state.allAnswers});
    if (state.allAnswers) first.focus({preventScroll: true});
    else section.scrollIntoView({block: "nearest"});
  });
  section.append(button);
  NARROW.addEventListener("change", draw);
  follow(["allAnswers"], draw);
  draw();
}

// ---- the rows that a sentence means

// whether a row is that of a group or curve; marks of doubt may follow its name
function isRowOf(row, name) {
  const place = row.dataset.place;
  const text = place === undefined ? row.cells[0].textContent : groups[place].group;
  return text.startsWith(name) && /^( \S)*$/.test(text.slice(name.length));
}

// marks the rows of the first table after `heading`, and returns the first of them
function markRows(heading, names) {
  const tables = [...document.querySelectorAll("main table")];
  const isAfter = (other) =>
    heading.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING;
  for (const row of document.querySelectorAll("tr.meant")) row.classList.remove("meant");
  const rows = [...(tables.find(isAfter)?.rows ?? [])];
  const meant = rows.filter((row) => names.some((name) => isRowOf(row, name)));
  for (const row of meant) row.classList.add("meant");
  return meant[0];
}

// leads to the rows that a sentence means, which no filter may hide
function showRows(link, heading) {
  const names = JSON.parse(link.dataset.about ?? "[]"); // none: the whole table
  let first = markRows(heading, names);
  if (first?.hidden) {
    set({shown: new Set(), text: "", brushes: {}, more: true});
    first = markRows(heading, names);
  }
  first?.scrollIntoView({block: "center"});
}
