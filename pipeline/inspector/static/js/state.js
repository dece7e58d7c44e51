// What the page knows, and who wants to hear when it changes.

export const state = {
  start: null,        // what /api/start answered
  grader: "",
  loaded: false,      // whether the stream is there
  numbers: [],        // objects of the stream, by number, in order
  scores: null,       // of `numbers`; null while blind
  tags: null,         // of `numbers`: what graders say, where they are in order of that
  likeness: null,     // of `numbers`, where they are those that look like one object
  shown: [],          // places in `numbers` that "Show" lets through
  at: 0,              // place in `shown` of the object looked at
  view: "mosaic",
  blind: true,
  where: "",
  sort: "score",
  descending: true,
  show: "all",
  bands: "",
  stretch: "normal",
  outlines: true,
  smooth: false,
  layer: "",
  size: 144,
  grades: new Map(),  // token -> {grade, comment}
  ready: false,       // whether the picture of the object looked at is there: nothing is graded unseen
};

const listeners = new Map();

export function on(event, call) {
  for (const name of event.split(" ")) listeners.set(name, [...(listeners.get(name) ?? []), call]);
}

export function emit(event, detail) { for (const call of listeners.get(event) ?? []) call(detail); }

export const tokenOf = (place) => state.start.tokens[state.numbers[state.shown[place]]];
export const numberOf = (place) => state.numbers[state.shown[place]];
export const current = () => (state.at < state.shown.length ? tokenOf(state.at) : null);
export const gradeOf = (token) => state.grades.get(token) ?? { grade: null, comment: "" };

const TESTS = {
  all: () => true,
  ungraded: (held) => held.grade === null,
  graded: (held) => held.grade !== null,
  commented: (held) => held.comment !== "",
};

// Choose anew what is shown; done when asked for, never under the hands of somebody who grades.
export function choose() {
  const test = TESTS[state.show] ?? ((held) => held.grade === state.show);
  state.shown = [];
  state.numbers.forEach((number, place) => { if (test(gradeOf(state.start.tokens[number]))) state.shown.push(place); });
  state.at = Math.max(0, Math.min(state.at, state.shown.length - 1));
}

// The first one without a grade, from a place on and round again; -1 where all are graded.
export function nextUngraded(from) {
  for (let step = 0; step < state.shown.length; step += 1) {
    const place = (from + step) % state.shown.length;
    if (gradeOf(tokenOf(place)).grade === null) return place;
  }
  return -1;
}

// Choices that the next visit finds again.
const KEPT = ["bands", "stretch", "outlines", "smooth", "size", "blind", "where", "sort", "descending"];
const name = () => `lensscan:${state.start.survey}:${state.start.scan_id}:choices`;

export function keep() {
  const said = Object.fromEntries(KEPT.map((key) => [key, state[key]]));
  try { localStorage.setItem(name(), JSON.stringify(said)); } catch { /* a browser may forbid it */ }
}

export function recall() {
  try {
    const said = JSON.parse(localStorage.getItem(name()) ?? "{}");
    for (const key of KEPT) if (key in said && typeof said[key] === typeof state[key]) state[key] = said[key];
  } catch { /* not ours, or forbidden */ }
}
