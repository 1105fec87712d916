// Starts the views, the theme, the address and the Escape key.

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

find("theme").hidden = false;
find("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
});
if (groups.length) {
  // shown before the table measures its room
  find("plane-section").hidden = !axes.length;
  startAnswers();
  startTable();
  startRuns();
  startCopying();
  startPlane();
  startOpened();
  startFrontiers();
  startCurves();
  startKnobs();
  startAddress();
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") closeHead();
  });
  let width = innerWidth;
  addEventListener("resize", () => {
    // on phones the height changes while scrolling
    if (innerWidth === width) return;
    width = innerWidth;
    measureColumns();
    drawColumns();
    if (axes.length) drawPlane();
    drawFrontiers();
    layOutCurves();
    drawKnobs();
  });
}
// for the frame of `report --watch`, which hands over to the page of a later moment
window.uncollapsePage = {state, set};
document.documentElement.dataset.ready = String(Math.round(performance.now()));
