// Many candidates at once: a page of tiles, cut from one picture.

import { Refused } from "./api.js";
import { $, el, number, say, significant, toast } from "./dom.js";
import { go, gradeRest, setView } from "./actions.js";
import { cell, picture, sheetUrl } from "./pictures.js";
import { emit, gradeOf, numberOf, on, state, tokenOf } from "./state.js";

const MOST = 200;
let columns = 1;
let per = 1;
let drawn = 0;
let tiles = [];
let shownUrl = "";
let resizing = 0;

const first = () => Math.floor(state.at / per) * per;
const pages = () => Math.max(1, Math.ceil(state.shown.length / per));
const placesOf = (start) => Array.from({ length: Math.max(0, Math.min(per, state.shown.length - start)) }, (_, k) => start + k);
const numbersOf = (start) => placesOf(start).map(numberOf);

// How many tiles fill the window; a narrow one scrolls.
function measure() {
  const grid = $("grid");
  $("empty").hidden = true;
  const style = getComputedStyle(grid);
  const gap = parseFloat(style.rowGap);
  const width = grid.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const height = grid.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
  const narrow = matchMedia("(max-width: 760px)").matches;
  if (narrow) {
    columns = Math.max(2, Math.floor((width + gap) / (Math.min(state.size, 118) + gap)));
  } else {
    // A column or two more where that leaves less of the window empty.
    const least = Math.max(1, Math.floor((width + gap) / (state.size + gap)));
    const left = (count) => { const side = edge(width, gap, count) + gap; return ((height + gap) % side) / side; };
    columns = [least, least + 1, least + 2].reduce((best, count) => (left(count) < left(best) - 0.15 ? count : best));
  }
  const tile = edge(width, gap, columns);
  const rows = narrow ? Math.ceil(24 / columns) : Math.max(1, Math.floor((height + gap) / (tile + gap)));
  per = Math.min(columns * rows, Math.floor(MOST / columns) * columns);
  grid.style.gridTemplateColumns = `repeat(${columns}, ${tile}px)`;
  grid.style.gridAutoRows = `${tile}px`;
}

const edge = (width, gap, count) => Math.floor((width - (count - 1) * gap) / count);

function tile(place) {
  return el("button", {
    type: "button", class: "tile", tabIndex: -1,
    on: { click: () => { go(place); setView("single"); }, focus: () => go(place) },
  }, el("span", { class: "pic" }));
}

function decorate(button, place) {
  const held = gradeOf(tokenOf(place));
  const index = state.shown[place];
  button.querySelectorAll(".grade, .tag, .note").forEach((old) => old.remove());
  button.dataset.grade = held.grade ?? "";
  if (held.grade) button.append(el("span", { class: "grade" }, held.grade));
  if (held.comment) button.append(el("span", { class: "note" }));
  const score = state.scores?.[index] ?? state.likeness?.[index];
  const graders = state.tags?.[index];
  if (graders) button.append(el("span", { class: "tag" }, graders));
  if (score !== undefined && score !== null) button.append(el("span", { class: "tag" }, significant(score)));
  const said = [`Candidate ${number(place + 1)}`, held.grade ? `graded ${held.grade}` : "no grade"];
  if (held.comment) said.push("with a comment");
  if (score !== undefined && score !== null) said.push(`${state.likeness ? "likeness" : "score"} ${significant(score)}`);
  if (graders) said.push(`all graders: ${graders}`);
  button.setAttribute("aria-label", said.join(", "));
}

function mark({ focus }) {
  tiles.forEach((button, k) => {
    const here = first() + k === state.at;
    button.classList.toggle("at", here);
    button.tabIndex = here ? 0 : -1;
    if (here && focus) button.focus({ preventScroll: false });
  });
}

const focused = () => $("grid").contains(document.activeElement) || document.activeElement === document.body;

async function draw() {
  if (state.view !== "mosaic" || !state.loaded) return;
  const hadFocus = focused();
  const start = first();
  const places = placesOf(start);
  drawn = start;
  tiles = places.map(tile);
  tiles.forEach((button, k) => decorate(button, places[k]));
  $("grid").replaceChildren(...tiles);
  $("empty").hidden = places.length > 0 || !state.loaded;
  $("page").textContent = state.shown.length ? `page ${number(start / per + 1)} of ${number(pages())}` : "";
  $("previous-page").disabled = start === 0;
  $("next-page").disabled = start + per >= state.shown.length;
  $("rest").disabled = !places.length;
  mark({ focus: hadFocus && !document.querySelector("dialog[open]") });
  if (places.length) await fill(start);
}

// Put the page's picture into its tiles, then fetch the next page's ahead.
async function fill(start) {
  const url = sheetUrl(numbersOf(start));
  shownUrl = url;
  state.ready = false;
  $("grid").dataset.ready = "no";
  const count = tiles.length;
  const wide = Math.max(1, Math.ceil(Math.sqrt(count)));
  let address;
  try {
    address = await picture(url);
  } catch (error) {
    if (shownUrl !== url) return;
    if (error instanceof Refused && error.status === 409) { location.reload(); return; }
    if (error instanceof Refused && error.status < 500) { toast(error.message); return; }
    emit("trouble", error);
    setTimeout(() => { if (shownUrl === url && state.view === "mosaic") fill(start); }, 1000);
    return;
  }
  if (shownUrl !== url || state.view !== "mosaic") return;
  tiles.forEach((button, k) => cell(button.firstChild, address, k, wide, Math.ceil(count / wide)));
  state.ready = true;
  $("grid").dataset.ready = "yes";
  emit("answered");
  ahead(start + per);
}

function ahead(start) {
  if (start < state.shown.length) picture(sheetUrl(numbersOf(start))).catch(() => {});
}

export function turn(step) {
  const start = first() + step * per;
  if (start < 0 || start >= state.shown.length) return;
  go(start);
}

// Move the mark by tiles; beyond an edge the page is turned.
export function move(across, down) {
  const to = state.at + across + down * columns;
  if (to >= 0 && to < state.shown.length) go(to);
}

function redraw() {
  if (state.view !== "mosaic") return;
  measure();
  draw();
}

export function startMosaic() {
  on("list look size", redraw);
  on("view", () => {
    // The other view gives its room first: tiles are counted by what is left.
    $("single").hidden = state.view !== "single";
    $("mosaic").hidden = state.view !== "mosaic";
    redraw();
    if (state.view === "mosaic") mark({ focus: true });
  });
  on("at", () => {
    if (state.view !== "mosaic") return;
    if (first() !== drawn) draw();
    else mark({ focus: focused() });
  });
  on("grades", () => tiles.forEach((button, k) => decorate(button, drawn + k)));
  on("graded", (token) => tiles.forEach((button, k) => { if (tokenOf(drawn + k) === token) decorate(button, drawn + k); }));
  $("previous-page").addEventListener("click", () => turn(-1));
  $("next-page").addEventListener("click", () => turn(1));
  $("rest").addEventListener("click", () => {
    if (!state.ready) { say("The pictures are still on their way."); return; }
    const places = placesOf(first());
    if (gradeRest(places) && first() + per < state.shown.length) turn(1);
  });
  new ResizeObserver(() => {
    clearTimeout(resizing);
    resizing = setTimeout(() => {
      const [before, wide] = [per, columns];
      if (state.view !== "mosaic" || !state.loaded) return;
      measure();
      if (before !== per || wide !== columns) draw();
    }, 80);
  }).observe($("grid"));
}
