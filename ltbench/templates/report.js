"use strict";
// Sorting, filtering, the theme and folding. Without this script the page shows all it has, in the suite's order.

for (const element of document.querySelectorAll(".scripted")) element.hidden = false;

// Theme: as the system has it, light, dark

const themes = ["system", "light", "dark"];
const theme = document.getElementById("theme");
theme.addEventListener("click", () => {
  const now = document.documentElement.dataset.theme || "system";
  const next = themes[(themes.indexOf(now) + 1) % themes.length];
  document.documentElement.dataset.theme = next;
  theme.querySelector("span").textContent = next;
});

// Leaderboards

for (const block of document.querySelectorAll(".block")) {
  const body = block.querySelector(".board tbody");
  const rows = [...body.rows]; // in the suite's order
  const headers = [...block.querySelectorAll(".board thead th")];
  const [search, status] = [block.querySelector("input"), block.querySelector("select")];
  const told = block.querySelector("output");

  const filter = (said = "") => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const label = row.cells[0].textContent.toLowerCase();
      row.hidden = !words.every((word) => label.includes(word)) || (status.value !== "" && row.dataset.status !== status.value);
    }
    const shown = rows.filter((row) => !row.hidden).length;
    told.textContent = (shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`) + said;
  };

  const sort = (header, column) => {
    const first = header.dataset.down === "1" ? "descending" : "ascending"; // the best on top
    const second = first === "descending" ? "ascending" : "descending";
    const next = { none: first, [first]: second, [second]: "none" }[header.getAttribute("aria-sort")];
    for (const other of headers) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", next);
    const sign = next === "descending" ? -1 : 1;
    const value = (row) => row.cells[column].dataset.sort;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === ""); // without a value: last, whichever way
      return sign * (Number(x) - Number(y));
    };
    body.append(...(next === "none" ? rows : [...rows].sort(compare)));
    const name = header.textContent.trim();
    filter(next === "none" ? ", in the suite's order" : `, by ${name}, ${next === first ? "best" : "worst"} first`);
  };

  headers.forEach((header, column) => {
    const button = header.querySelector("button");
    if (button) button.addEventListener("click", () => sort(header, column));
  });
  search.addEventListener("input", () => filter());
  status.addEventListener("change", () => filter());
  block.querySelector("form").addEventListener("submit", (event) => event.preventDefault());

  const unfold = block.querySelector(".unfold");
  unfold.addEventListener("click", () => {
    const open = unfold.getAttribute("aria-expanded") !== "true";
    for (const run of block.querySelectorAll("details.run")) run.open = open;
    unfold.setAttribute("aria-expanded", String(open));
    unfold.textContent = open ? "Fold all runs" : "Unfold all runs";
  });
}

// A link from the leaderboard unfolds the runs that it leads to

const reveal = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.matches(".entry")) for (const run of target.querySelectorAll("details")) run.open = true;
};
addEventListener("hashchange", reveal);
reveal();
