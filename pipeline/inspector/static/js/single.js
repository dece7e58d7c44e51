// One candidate: its stamp large, the same in other bands, what lies over it, and what is known of it.

import { get, passing, Refused } from "./api.js";
import { $, el, number, svg, toast } from "./dom.js";
import { canCompare, comment, go, grade, loadSimilar } from "./actions.js";
import { showFacts, showGrades } from "./facts.js";
import { cell, layerUrl, picture, stampUrl, stripUrl } from "./pictures.js";
import { current, emit, gradeOf, numberOf, on, state } from "./state.js";
import { startViewer, wholeStamp } from "./viewer.js";

const MEANS = { A: "lens", B: "probable", C: "possible", X: "no lens" };
let showing = null;

const facts = new Map();

function factsOf(token) {
  const key = `${state.blind ? 1 : 0} ${token}`;
  if (!facts.has(key)) {
    const asked = get(`/api/object/${token}`, { blind: state.blind ? 1 : 0 });
    facts.set(key, asked);
    asked.catch(() => facts.delete(key));
    if (facts.size > 500) facts.delete(facts.keys().next().value);
  }
  return facts.get(key);
}

async function draw() {
  if (state.view !== "single" || !state.start) return;
  const token = current();
  const place = state.at;
  if (token !== showing) wholeStamp();
  showing = token;
  state.ready = false;
  $("single").dataset.ready = "no";
  $("title").textContent = token === null ? "No candidate" : `${number(place + 1)} of ${number(state.shown.length)}`;
  $("previous").disabled = place === 0;
  $("next").disabled = place + 1 >= state.shown.length;
  press();
  $("comment").value = token === null ? "" : gradeOf(token).comment;
  $("comment").disabled = token === null;
  // The stamp of another object never stands over this one's grade.
  $("stamp").removeAttribute("src");
  $("marks").replaceChildren();
  $("overlay").hidden = true;
  $("no-picture").hidden = true;
  $("facts").replaceChildren();
  $("said-by").hidden = true;
  if (token === null) { $("strip").replaceChildren(); return; }
  const mine = () => state.view === "single" && showing === token && place === state.at;
  const look = `${state.bands} ${state.stretch}`;
  try {
    const [said, address] = await Promise.all([factsOf(token), picture(stampUrl(numberOf(place))).catch(none)]);
    if (!mine() || look !== `${state.bands} ${state.stretch}`) return;
    showFacts($("facts"), said);
    $("stamp").alt = `Stamp of candidate ${number(place + 1)}, ${state.bands || "colour"}, ${state.stretch} stretch`;
    if (address === null) missing();
    else { $("stamp").src = address; marks(said.picture, said.axes); layer(token); strip(said.picture.bands); }
    state.ready = true;
    $("single").dataset.ready = "yes";
    emit("answered");
    ahead();
  } catch (error) {
    if (!mine()) return;
    if (error instanceof Refused && error.status === 409) { location.reload(); return; }
    if (!passing(error)) { toast(error.message); return; }
    emit("trouble", error);
    setTimeout(() => { if (mine()) draw(); }, 1000);
  }
}

// A cutout that was not kept is told and can still be graded; a server that is silent is asked again.
function none(error) {
  if (error instanceof Refused && error.status === 404) return null;
  throw error;
}

function missing() {
  $("no-picture").hidden = false;
  $("no-picture").textContent = 'No picture: the cutout was not kept, or its field was cut again. Set cutouts.keep to "candidates" in the scan\'s config, run the scan again and start the page anew.';
  $("strip").replaceChildren();
}

// Outline of what is masked, a scale bar, north and east; in pixels of the stamp.
function marks(stamp, axes) {
  const box = $("marks");
  const size = stamp.size;
  box.setAttribute("viewBox", `0 0 ${size} ${size}`);
  const parts = [];
  if (state.outlines && stamp.outline) parts.push(svg("path", { class: "fatal", d: stamp.outline }));
  const length = [60, 30, 20, 10, 5, 2, 1, 0.5, 0.2].find((arcsec) => arcsec / stamp.scale < size / 3) ?? 0.1;
  const [left, bottom, font] = [size * 0.04, size * 0.955, size * 0.032];
  parts.push(svg("path", { class: "scale", d: `M${left} ${bottom}h${length / stamp.scale}` }));
  parts.push(svg("text", { x: left, y: bottom - font * 0.5, "font-size": font }, `${length}″`));
  if (axes) {
    const arm = size * 0.07;
    const [cx, cy] = [size * 0.9, size * 0.9];
    for (const [letter, [dx, dy]] of [["N", axes[0]], ["E", axes[1]]]) {
      parts.push(svg("path", { class: "north", d: `M${cx} ${cy}l${dx * arm} ${-dy * arm}` }));
      parts.push(svg("text", { x: cx + dx * arm * 1.35, y: cy - dy * arm * 1.35, "font-size": font, "text-anchor": "middle", "dominant-baseline": "middle" }, letter));
    }
  }
  box.replaceChildren(...parts);
}

async function layer(token) {
  const chosen = state.layer;
  $("overlay").hidden = true;
  $("layer-note").textContent = chosen && chosen !== "flags" ? "drawing the map …" : "";
  if (!chosen) return;
  const mine = () => state.view === "single" && showing === token && state.layer === chosen;
  try {
    const address = await picture(layerUrl(numberOf(state.at), chosen));
    if (!mine()) return;
    $("overlay").src = address;
    $("overlay").hidden = false;
    $("layer-note").textContent = "";
  } catch (error) {
    if (mine()) $("layer-note").textContent = error instanceof Refused ? error.message : "the server does not answer";
  }
}

async function strip(bands) {
  const token = showing;
  const names = state.start.combinations;
  const buttons = names.map((name) =>
    el("button", { type: "button", "aria-pressed": String(name === state.bands), on: { click: () => emit("bands", name) } },
      el("span", { class: "pic" }), name));
  $("strip").replaceChildren(...buttons);
  $("strip").hidden = names.length < 2 || bands.length < 2;
  try {
    const address = await picture(stripUrl(numberOf(state.at)));
    if (token === showing) buttons.forEach((button, k) => cell(button.firstChild, address, k, names.length, 1));
  } catch { /* the large picture tells */ }
}

function ahead() {
  for (const place of [state.at + 1, state.at + 2, state.at - 1]) {
    if (place < 0 || place >= state.shown.length) continue;
    picture(stampUrl(numberOf(place))).catch(() => {});
    factsOf(state.start.tokens[numberOf(place)]).catch(() => {});
  }
  if (state.at + 1 < state.shown.length) picture(stripUrl(numberOf(state.at + 1))).catch(() => {});
}

// What everybody says, when it is asked for: never to somebody who grades blind.
async function everybody() {
  const token = showing;
  try {
    const said = await get(`/api/others/${token}`);
    if (token !== showing || state.blind) return;
    showGrades($("said-by"), said);
    $("said-by").hidden = false;
  } catch (error) { toast(error.message); }
}

function press() {
  const token = current();
  const held = token === null ? null : gradeOf(token).grade;
  for (const button of $("grades").children) button.setAttribute("aria-pressed", String(button.dataset.grade === held));
}

function saveComment() {
  if (showing !== null && document.activeElement === $("comment")) comment(showing, $("comment").value.trim());
}

export function startSingle() {
  startViewer((step) => go(state.at + step));
  $("grades").replaceChildren(...state.start.grades.map((letter) =>
    el("button", { type: "button", class: letter, "aria-pressed": "false", "data-grade": letter, on: { click: () => grade(letter) } },
      letter, el("small", {}, MEANS[letter]))));
  for (const kind of state.start.maps) $("layer").append(el("option", { value: kind }, kind.replace("_", " ")));
  $("others").addEventListener("click", everybody);
  $("similar").addEventListener("click", loadSimilar);
  $("comment").maxLength = state.start.longest_comment;
  $("comment").addEventListener("blur", () => { if (showing !== null) comment(showing, $("comment").value.trim()); });
  $("comment").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); $("comment").blur(); $("title").focus(); }
    if (event.key === "Escape") { $("comment").value = gradeOf(showing).comment; $("comment").blur(); $("title").focus(); event.stopPropagation(); }
  });
  $("layer").addEventListener("change", () => { state.layer = $("layer").value; if (showing !== null) layer(showing); });
  $("previous").addEventListener("click", () => go(state.at - 1));
  $("next").addEventListener("click", () => go(state.at + 1));
  on("leaving", saveComment);
  on("view", () => {
    if (state.view === "single") { draw(); $("title").focus({ preventScroll: true }); }
  });
  on("at list look", () => { if (state.view === "single") draw(); });
  on("blind", () => {
    $("similar").hidden = !canCompare();
    $("others").hidden = state.blind;
    for (const option of $("layer").options) option.hidden = state.blind && state.start.maps.includes(option.value);
    if (state.blind && state.start.maps.includes(state.layer)) { state.layer = ""; $("layer").value = ""; }
  });
  on("graded grades", () => {
    press();
    if (showing !== null && document.activeElement !== $("comment")) $("comment").value = gradeOf(showing).comment;
  });
}

addEventListener("popstate", () => {
  const view = location.hash === "#single" ? "single" : "mosaic";
  if (view !== state.view) { state.view = view; emit("view"); }
});
