// Sentences beyond the first few come on request where the screen is narrow; print has them all.

const FIRST_ANSWERS = 3;

function startAnswers() {
  const section = document.querySelector(".answers");
  const rest = [...section.querySelectorAll("p")].slice(FIRST_ANSWERS);
  if (!rest.length) return;
  const cautions = rest.filter((sentence) => sentence.classList.contains("caution")).length;
  const more = `${rest.length} more sentence${rest.length > 1 ? "s" : ""}`
    + (cautions ? `, with ${cautions} caution${cautions > 1 ? "s" : ""}` : "");
  const button = html("button", {type: "button", id: "more-answers"});
  const draw = () => {
    section.classList.toggle("short", !state.allAnswers);
    button.textContent = state.allAnswers ? `first ${FIRST_ANSWERS} sentences only` : more;
    button.setAttribute("aria-expanded", String(state.allAnswers));
  };
  button.addEventListener("click", () => {
    set({allAnswers: !state.allAnswers});
    if (state.allAnswers) rest[0].focus({preventScroll: true});
    else section.scrollIntoView({block: "nearest"});
  });
  for (const sentence of rest) sentence.classList.add("later");
  // the button comes after the sentences that it shows, so the focus goes to the first of them
  rest[0].tabIndex = -1;
  section.append(button);
  follow(["allAnswers"], draw);
  draw();
}
