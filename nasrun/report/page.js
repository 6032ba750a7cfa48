"use strict";
// A click on a column's name sorts its table: by the values behind the texts, then back again.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.cells[head.cellIndex].dataset.value ?? "";
    const order = (one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === "" || b === "") return (a === "") - (b === "");  // what is missing stays below
      const both = a - b;
      return (down ? -1 : 1) * (Number.isNaN(both) ? a.localeCompare(b) : both);
    };
    body.append(...[...body.rows].sort(order));
  });
}
// What a plot says at the place that is nearest to the pointer.
for (const figure of document.querySelectorAll("figure[data-touches]")) {
  const places = JSON.parse(figure.dataset.touches);
  const svg = figure.querySelector("svg");
  if (!svg || !places.length) continue;
  const width = svg.viewBox.baseVal.width;
  const ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  for (const [name, text] of Object.entries({ r: 4, fill: "none", stroke: "currentColor",
    "stroke-width": 1.5, visibility: "hidden" })) ring.setAttribute(name, text);
  svg.append(ring);
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  figure.append(tip);
  const hide = () => { tip.hidden = true; ring.setAttribute("visibility", "hidden"); };
  const show = (event) => {
    const box = svg.getBoundingClientRect();
    const scale = box.width / width;
    const [x, y] = [(event.clientX - box.left) / scale, (event.clientY - box.top) / scale];
    let [nearest, least] = [null, 40 ** 2];
    for (const place of places) {
      const distance = (place[0] - x) ** 2 + (place[1] - y) ** 2;
      if (distance < least) [nearest, least] = [place, distance];
    }
    if (!nearest) return hide();
    ring.setAttribute("cx", nearest[0]);
    ring.setAttribute("cy", nearest[1]);
    ring.setAttribute("visibility", "visible");
    tip.textContent = nearest[2];
    tip.hidden = false;
    const left = Math.min(nearest[0] * scale + 12, figure.clientWidth - tip.offsetWidth);
    tip.style.left = `${Math.max(0, left)}px`;
    tip.style.top = `${nearest[1] * scale + 12}px`;
  };
  svg.addEventListener("pointermove", show);
  svg.addEventListener("pointerdown", show);
  svg.addEventListener("pointerleave", hide);
}
// The cells of a group's best run stand beside its row too; a click on them opens the run.
for (const image of document.querySelectorAll("img[data-from]")) {
  const fold = document.getElementById(image.dataset.from);
  const drawing = fold?.querySelector(".cells img");
  if (drawing) image.src = drawing.src;
  image.parentNode.addEventListener("click", () => { fold.open = true; });
}
// On paper everything is open.
window.addEventListener("beforeprint", () => {
  for (const element of document.querySelectorAll("details")) element.open = true;
});
