// Who grades, help, and statistics.

import { blob, get, passing } from "./api.js";
import { loadGrades, loadStream } from "./actions.js";
import { $, el, number, significant, toast } from "./dom.js";
import { emit, state } from "./state.js";

const name = () => `lensscan:${state.start.survey}:${state.start.scan_id}:grader`;
const shown = (key) => ({ ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", PageUp: "Page↑", PageDown: "Page↓", Escape: "Esc" })[key]
  ?? (/^[A-Z]$/.test(key) ? `Shift ${key}` : key.toUpperCase());

function table(head, rows) {
  return el("table", {},
    el("thead", {}, el("tr", {}, ...head.map((text, k) => el("th", { scope: "col", class: k ? "number" : "" }, text)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((cell, k) => el(k ? "td" : "th", k ? { class: "number" } : { scope: "row" }, cell))))));
}

// A row of keys with one meaning; many are told by the first and the last.
function caps(all) {
  const many = all.length > 4;
  return (many ? [all[0], all.at(-1)] : all).flatMap((key, k) => [k ? (many ? " to " : " ") : "", el("kbd", {}, shown(key))]);
}

export function openHelp(keys) {
  $("help").replaceChildren(
    el("dl", { class: "keys" }, ...keys.map(([all, words]) => el("div", {}, el("dt", {}, ...caps(all)), el("dd", {}, words)))),
    el("h3", {}, "Blind"),
    el("p", {}, "While Blind is on, scores, maps, names and known lenses are hidden, and the order is shuffled, differently for everybody. Others' grades are shown one by one, when asked for, to who is not blind."),
    el("h3", {}, "Saved"),
    el("p", {}, "A grade is on disk when the page says saved. Should the server be away, grades wait in this browser and go when it is back."),
  );
  $("help-dialog").showModal();
}

const percent = (value) => `${Math.round(100 * value)}`;
const share = (value) => (value === null || value === undefined ? "–" : `${percent(value)} %`);
const within = ([value, low, high]) => (value === null ? "–" : `${share(value)} (${percent(low)} to ${percent(high)})`);

export async function openStatistics() {
  const box = $("statistics");
  box.replaceChildren(el("p", {}, "Counting …"));
  if (!$("statistics-dialog").open) $("statistics-dialog").showModal();
  let said;
  try { said = await get("/api/statistics", { blind: state.blind ? 1 : 0 }); } catch (error) { box.replaceChildren(el("p", { class: "error" }, error.message)); return; }
  const graders = said.graders.map((one) => [one.grader, ...state.start.grades.map((letter) => number(one.counts[letter] ?? 0)), number(one.graded)]);
  const parts = [
    el("p", {}, `${number(said.graded)} of ${number(said.candidates)} candidates have a grade; ${number(said.shared)} have grades of several people.`),
    el("h3", {}, "Graders"),
    graders.length ? table(["grader", ...state.start.grades, "graded"], graders) : el("p", {}, "Nobody has graded yet."),
  ];
  if (said.planted.length) {
    parts.push(el("h3", {}, "Planted objects"),
      table(["grader", "lenses seen", "found", "duds seen", "taken for lenses"],
        said.planted.map((one) => [one.grader, number(one.lenses), within(one.found), number(one.duds), within(one.taken)])));
  }
  if (state.blind && state.start.planted) parts.push(el("p", {}, "How planted objects fared is told with Blind off: while you grade it would say which they are."));
  if (said.pairs.length) {
    const [alpha, low, high] = said.alpha;
    const interval = low === null ? "" : ` (95 %: ${significant(low, 2)} to ${significant(high, 2)})`;
    parts.push(el("h3", {}, "Agreement"),
      el("p", {}, alpha === null ? "Krippendorff's alpha has no value yet." : `Krippendorff's alpha ${significant(alpha, 2)}${interval}; 1 is full agreement, 0 what chance gives.`),
      table(["graders", "both graded", "same grade", "weighted kappa"],
        said.pairs.map((pair) => [pair.graders.join(" and "), number(pair.shared), share(pair.same), significant(pair.kappa, 2)])));
  }
  if (said.graded) {
    parts.push(el("h3", {}, "Consensus"), table(["median of the grades", ...state.start.grades],
      [["candidates", ...state.start.grades.map((letter) => number(said.consensus[letter]))]]));
  }
  box.replaceChildren(...parts);
}

async function save(form) {
  let address;
  try { address = URL.createObjectURL(await blob(`/export/grades.${form}`)); } catch (error) { toast(error.message); return; }
  el("a", { href: address, download: `grades-${state.start.scan_id}.${form}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}

async function enter(grader) {
  state.grader = grader;
  state.grades = new Map();
  $("who").textContent = grader;
  try { localStorage.setItem(name(), grader); } catch { /* asked again next time */ }
  state.at = 0;
  await loadStream({ after: loadGrades().catch((error) => emit("trouble", error)) });
}

// A phone writes the same name with a capital: one person is one grader.
async function known(typed) {
  try {
    const { grader } = await get("/api/grades", { grader: typed });
    if (grader !== typed) toast(`You go on as ${grader}, who graded here before.`, { calm: true });
    return grader;
  } catch (error) {
    if (passing(error)) return typed;
    throw error;
  }
}

export function openWho() {
  $("name").setCustomValidity("");
  $("name").value = state.grader;
  $("names").replaceChildren(...state.start.graders.map((each) => el("option", { value: each })));
  $("who-dialog").showModal();
}

export async function startDialogs() {
  $("name").maxLength = state.start.longest_name;
  for (const button of document.querySelectorAll("dialog .close")) button.addEventListener("click", () => button.closest("dialog").close());
  for (const button of document.querySelectorAll(".export")) button.addEventListener("click", () => save(button.dataset.form));
  $("to-statistics").addEventListener("click", openStatistics);
  $("who").addEventListener("click", openWho);
  $("who-form").addEventListener("submit", (event) => {
    const grader = $("name").value.trim().normalize("NFC");
    if (!grader) { event.preventDefault(); $("name").value = ""; $("name").reportValidity(); return; }
    known(grader).then(enter, (error) => {
      openWho();
      $("name").value = grader;
      $("name").setCustomValidity(error.message);
      $("name").reportValidity();
    });
  });
  $("name").addEventListener("input", () => $("name").setCustomValidity(""));
  $("who-dialog").addEventListener("cancel", (event) => { if (!state.grader) event.preventDefault(); });
  let before = "";
  try { before = localStorage.getItem(name()) ?? ""; } catch { /* asked for */ }
  if (before) await enter(before);
  else openWho();
}
