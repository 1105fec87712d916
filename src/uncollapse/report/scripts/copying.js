// The visible rows and columns as CSV (numbers), Markdown or LaTeX (as they are shown).

const shownText = (place, column) =>
  ({name: groups[place].name, n: groups[place].n, changes: groups[place].changes})[column]
  ?? textOf(place, column);

// spreadsheets would take some texts as formulas
const inert = (text) => (formulas.includes(text.trimStart()[0]) ? `'${text}` : text);
const quote = (value) => `"${String(value ?? "").replaceAll('"', '""')}"`;
const escapeMarkdown = (text) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replace(/[\\|`*\[\]$~_]/g, "\\$&");
const escapeLatex = (text) => [...text].map((letter) => latex[letter] ?? letter).join("");

function makeCsv(names, places) {
  const isNumber = (column) => Object.hasOwn(metrics, column);
  const title = (column) => metrics[column]?.header ?? column;
  const first = names.flatMap((c) => (isNumber(c) ? [title(c), `${title(c)} ±`] : [c]));
  const rows = places.map((place) => names.flatMap((column) => (isNumber(column)
    ? [mean(place, column), metric(place, column)?.[1]] : [inert(shownText(place, column))])));
  return [first, ...rows].map((row) => row.map(quote).join(",")).join("\n");
}

function makeText(names, places, how) {
  const rows = [names.map((column) => metrics[column]?.header ?? column),
    ...places.map((place) => names.map((column) => shownText(place, column)))];
  if (how === "Markdown") {
    rows.splice(1, 0, names.map(() => "---"));
    return rows.map((row) => `| ${row.map(escapeMarkdown).join(" | ")} |`).join("\n");
  }
  const [first, ...rest] = rows.map((row) => `${row.map(escapeLatex).join(" & ")} \\\\`);
  const frameLines = [`\\begin{tabular}{l${"r".repeat(names.length - 1)}}`, "\\toprule", first];
  return [...frameLines, "\\midrule", ...rest, "\\bottomrule", "\\end{tabular}"].join("\n");
}

async function copy(how) {
  const names = columns.slice(0, countColumns());
  const places = listPlaces();
  const text = how === "CSV" ? makeCsv(names, places) : makeText(names, places, how);
  const field = find("copied-text");
  try {
    await navigator.clipboard.writeText(text);
    field.hidden = true;
    find("copied").textContent = `${places.length} rows copied as ${how}.`;
  } catch { // no clipboard, or no permission
    field.value = text;
    field.hidden = false;
    field.select();
    find("copied").textContent = `${places.length} rows as ${how}, to be copied from below.`;
  }
}

function startCopying() {
  for (const how of ["CSV", "Markdown", "LaTeX"])
    find("copying").append(html("button", {type: "button", onclick: () => copy(how)}, how));
}
