// The bars above: filter, order, look, progress, whether all is saved.

import { $, el, number, toast } from "./dom.js";
import { loadStream, setView, settle, undo } from "./actions.js";
import { lastTrouble, unsaved } from "./queue.js";
import { emit, gradeOf, keep, on, state } from "./state.js";

function fill(select, values, chosen) {
  select.replaceChildren(...values.map((value) => el("option", { value }, value)));
  select.value = chosen;
}

export function nextIn(id, step) {
  const open = [...$(id).options].filter((option) => !option.hidden);
  const here = open.indexOf($(id).selectedOptions[0]);
  $(id).value = open[(here + step + open.length) % open.length].value;
  $(id).dispatchEvent(new Event("change"));
}

export function setBands(name) {
  if (!state.start.combinations.includes(name)) return;
  state.bands = name;
  $("bands").value = name;
  keep();
  emit("look");
}

function progress() {
  const total = state.numbers.length;
  const done = state.numbers.reduce((sum, each) => sum + (gradeOf(state.start.tokens[each]).grade !== null), 0);
  $("done").textContent = number(done);
  $("total").textContent = number(total);
  $("meter").value = total ? done / total : 0;
}

function saved() {
  const box = $("saved");
  const count = unsaved();
  const trouble = lastTrouble();
  box.className = trouble ? "saved broken" : count > 1 ? "saved waiting" : "saved";
  // Read aloud only where something is wrong: it changes with every grade.
  box.setAttribute("aria-live", trouble ? "polite" : "off");
  box.textContent = !count ? "saved" : trouble ? `${number(count)} unsaved: ${trouble}; trying again` : `saving ${number(count)}`;
  box.dataset.unsaved = String(count);
}

function blindness() {
  $("blind").checked = state.blind;
  for (const id of ["sort", "direction"]) $(id).disabled = state.blind;
  $("direction").textContent = state.descending ? "high first" : "low first";
  $("direction").setAttribute("aria-pressed", String(state.descending));
  emit("blind");
}

// A choice made by mouse gives the keyboard back to grading; one made by keys keeps the focus where it is.
function letGo() {
  let byPointer = false;
  document.addEventListener("pointerdown", () => { byPointer = true; }, true);
  document.addEventListener("keydown", () => { byPointer = false; }, true);
  document.addEventListener("change", (event) => { if (byPointer && event.target.matches("select")) event.target.blur(); });
}

export function startControls() {
  letGo();
  const { start } = state;
  $("scan").textContent = start.scan_id;
  $("scan").title = `${start.survey} ${start.release}, scan ${start.scan_id}`;
  document.title = `${start.scan_id} – lens candidates`;
  if (!start.combinations.includes(state.bands)) [state.bands = ""] = start.combinations;
  if (!start.stretches.includes(state.stretch)) [state.stretch] = start.stretches;
  if (!start.sortable.includes(state.sort)) state.sort = "score";
  fill($("bands"), start.combinations, state.bands);
  fill($("stretch"), start.stretches, state.stretch);
  fill($("sort"), start.sortable, state.sort);
  $("columns").replaceChildren(...start.columns.map((column) => el("option", { value: column.name }, column.meaning)));
  $("where").value = state.where;
  $("outlines").checked = state.outlines;
  $("smooth").checked = state.smooth;
  document.body.classList.toggle("smooth", state.smooth);
  $("size").value = String(state.size);
  if (start.notes.length) {
    $("notes-text").replaceChildren(...start.notes.map((note) => el("p", {}, note)));
    $("notes").hidden = false;
    $("notes-close").addEventListener("click", () => { $("notes").hidden = true; });
  }
  $("to-mosaic").addEventListener("click", () => setView("mosaic"));
  $("to-single").addEventListener("click", () => setView("single"));
  $("undo").addEventListener("click", undo);
  $("menu").addEventListener("click", () => {
    const open = $("head").classList.toggle("open");
    $("menu").setAttribute("aria-expanded", String(open));
  });
  $("filter").addEventListener("submit", (event) => {
    event.preventDefault();
    state.where = $("where").value.trim();
    state.at = 0;
    loadStream();
  });
  $("where").addEventListener("search", () => { if (!$("where").value && state.where) $("filter").requestSubmit(); });
  $("show").addEventListener("change", () => { state.show = $("show").value; state.at = 0; settle(); });
  $("sort").addEventListener("change", () => { state.sort = $("sort").value; loadStream(); });
  $("direction").addEventListener("click", () => { state.descending = !state.descending; blindness(); loadStream(); });
  $("blind").addEventListener("change", () => {
    state.blind = $("blind").checked;
    blindness();
    setView("mosaic");
    loadStream();
  });
  $("bands").addEventListener("change", () => setBands($("bands").value));
  on("bands", setBands);
  $("stretch").addEventListener("change", () => { state.stretch = $("stretch").value; keep(); emit("look"); });
  $("outlines").addEventListener("change", () => { state.outlines = $("outlines").checked; keep(); emit("look"); });
  $("smooth").addEventListener("change", () => {
    state.smooth = $("smooth").checked;
    document.body.classList.toggle("smooth", state.smooth);
    keep();
  });
  $("size").addEventListener("change", () => { state.size = Number($("size").value); keep(); emit("size"); });
  $("likeness-close").addEventListener("click", () => loadStream());
  on("filter-refused", (error) => { $("filter-error").textContent = error.message; $("filter-error").hidden = false; });
  on("filter-accepted", () => { $("filter-error").hidden = true; });
  on("view", () => {
    $("to-mosaic").setAttribute("aria-pressed", String(state.view === "mosaic"));
    $("to-single").setAttribute("aria-pressed", String(state.view === "single"));
  });
  on("list", () => {
    $("show").value = state.show;
    $("likeness").hidden = state.likeness === null;
    $("likeness-text").textContent = `${number(state.numbers.length)} objects by likeness, the most alike first.`;
    $("sort-label").hidden = state.likeness !== null;
  });
  on("list grades graded", progress);
  on("queue", saved);
  on("trouble", () => {
    if (!unsaved()) { $("saved").className = "saved broken"; $("saved").textContent = "the server does not answer; trying again"; }
  });
  on("answered", saved);
  on("unready", () => toast("The picture is still on its way; not graded."));
  blindness();
}
