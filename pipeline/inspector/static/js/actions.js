// What can be done, by key, button or finger alike.

import { get, passing } from "./api.js";
import { number, say, toast } from "./dom.js";
import * as queue from "./queue.js";
import { choose, current, emit, gradeOf, keep, nextUngraded, on, state, tokenOf } from "./state.js";

let asked = 0;
// How many grades the last step gave at once: they are taken back together, and given again.
let together = null;

// Load the stream: the order, and what the condition lets through. Where to begin is known when `after` is done, too.
export async function loadStream({ stay = false, after = null } = {}) {
  asked += 1;
  const mine = asked;
  const here = stay ? current() : null;
  const values = { grader: state.grader, blind: state.blind ? 1 : 0, where: state.where };
  if (!state.blind) Object.assign(values, { sort: state.sort, descending: state.descending ? 1 : 0 });
  let answer;
  try {
    [answer] = await Promise.all([get("/api/stream", values), after]);
  } catch (error) {
    if (passing(error) && mine === asked) {
      setTimeout(() => { if (mine === asked) loadStream({ stay }); }, 1000);
      emit("trouble", error);
      return false;
    }
    emit("filter-refused", error);
    return false;
  }
  if (mine !== asked) return false;
  if (answer.version !== state.start.version) { location.reload(); return false; }
  state.numbers = answer.numbers;
  state.scores = answer.scores;
  state.tags = answer.tags ?? null;
  state.likeness = null;
  state.loaded = true;
  keep();
  settle(here);
  emit("filter-accepted");
  return true;
}

// Choose what is shown and where to begin: at the object that was looked at, else at the first without a grade.
export function settle(here = null) {
  choose();
  const place = here === null ? -1 : state.shown.findIndex((_, index) => tokenOf(index) === here);
  state.at = place >= 0 ? place : Math.max(0, nextUngraded(0));
  emit("list");
}

export async function loadGrades() {
  const { grader } = state;
  let answer;
  let before;
  do {
    before = queue.changes();
    answer = await get("/api/grades", { grader });
  } while (before !== queue.changes());
  if (grader !== state.grader) return;
  state.grades = new Map(Object.entries(answer.grades).map(([token, [grade, comment]]) => [token, { grade, comment }]));
  for (const one of queue.pending(grader)) state.grades.set(one.object, { grade: one.grade, comment: one.comment });
  emit("grades");
}

// A planted object is like none of the catalogue: that there is no answer would tell it.
export const canCompare = () => state.start.similar && !(state.blind && state.start.planted);

export async function loadSimilar() {
  const token = current();
  if (token === null || !canCompare()) return;
  try {
    const answer = await get(`/api/similar/${token}`);
    Object.assign(state, { numbers: answer.numbers, scores: null, tags: null, likeness: answer.likeness, show: "all", at: 0 });
    choose();
    emit("list");
    setView("mosaic");
    say(`${number(answer.numbers.length)} objects that look like it`);
  } catch (error) { toast(error.message); }
}

export function setView(view, { push = true } = {}) {
  if (state.view === view) return;
  state.view = view;
  // One step of history at most, so that "back" leaves the single view, and then the page.
  if (push && view === "single") history[history.state?.deep ? "replaceState" : "pushState"]({ deep: true }, "", "#single");
  else if (push) history.replaceState({ deep: true }, "", location.pathname);
  emit("view");
}

export function go(place) {
  if (!state.shown.length) return;
  const to = Math.max(0, Math.min(place, state.shown.length - 1));
  if (to === state.at) return;
  state.at = to;
  emit("at");
}

export function goUngraded() {
  const place = nextUngraded(state.at + (gradeOf(current()).grade === null ? 1 : 0));
  if (place < 0) toast("Every object shown has a grade.", { calm: true });
  else go(place);
}

function put(token, grade, comment) {
  if (grade === null && comment === "") state.grades.delete(token);
  else state.grades.set(token, { grade, comment });
  emit("graded", token);
}

export function grade(letter) {
  const token = current();
  if (token === null || !state.grader) return;
  if (!state.ready) { say("The picture is still on its way; not graded."); emit("unready"); return; }
  emit("leaving");
  const { comment } = gradeOf(token);
  together = null;
  put(token, letter, comment);
  queue.push("/api/grade", { object: token, grade: letter, comment });
  say(`Graded ${letter}.`);
  if (state.at + 1 < state.shown.length) go(state.at + 1);
  else toast(nextUngraded(0) < 0 ? "That was the last one; all shown have a grade." : "That was the last one. G goes to the next without a grade.", { calm: true });
}

export function comment(token, text) {
  const held = gradeOf(token);
  if (held.comment === text) return;
  together = null;
  put(token, held.grade, text);
  queue.push("/api/grade", { object: token, grade: held.grade, comment: text });
}

// Grade X whatever in these places has no grade.
export function gradeRest(places) {
  const left = places.map(tokenOf).filter((token) => gradeOf(token).grade === null);
  for (const token of left) {
    const held = gradeOf(token);
    put(token, "X", held.comment);
    queue.push("/api/grade", { object: token, grade: "X", comment: held.comment });
  }
  if (left.length) together = { grader: state.grader, count: left.length, given: true };
  say(`Graded X: ${left.length}.`);
  return left.length;
}

function repeat(path, given) {
  if (!state.grader) return;
  if (together?.grader !== state.grader || together.given !== given) together = null;
  else together.given = !given;
  for (let left = together?.count ?? 1; left > 0; left -= 1) queue.push(path, {});
}

export const undo = () => repeat("/api/undo", true);
export const redo = () => repeat("/api/redo", false);

on("saved", ({ entry, answer }) => {
  if (entry.body.grader !== state.grader) return;
  if (answer === null) {
    toast(entry.path === "/api/undo" ? "There is no grade to take back." : "There is nothing to give again.", { calm: true });
    return;
  }
  if (answer.object === null || queue.pendingFor(answer.object)) return;
  put(answer.object, answer.grade, answer.comment);
  if (entry.path === "/api/grade") return;
  if (queue.stepping()) return;
  const place = state.shown.findIndex((_, index) => tokenOf(index) === answer.object);
  say(`${entry.path === "/api/undo" ? "Taken back" : "Given again"}; the grade is ${answer.grade ?? "none"}.`);
  if (place >= 0) go(place);
});

on("refused", ({ entry, error }) => {
  toast(`Not saved: ${error.message}`);
  if (entry.body.grader === state.grader) loadGrades().catch(() => {});
});
