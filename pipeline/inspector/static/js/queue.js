// Grades on their way: in the page at once, in the browser's storage until the server says that they are saved.
//
// One request at a time, in order. Each has a name of its own, under which the server does it once however often it is
// sent: after an answer that was lost, a server that was killed, or a page that was loaded again.

import { passing, post } from "./api.js";
import { emit, state } from "./state.js";

const waiting = [];
let sending = false;
let trouble = null;
let counter = 0;
let turns = 0;
let latest = 0;

const prefix = () => `lensscan:${state.start.survey}:${state.start.scan_id}:unsaved:`;

export const unsaved = () => waiting.length;
// Counts what was pushed and what was answered: whoever asked the server in between has an answer of before.
export const changes = () => turns;

// Grades of a grader that the server does not have yet.
export const pending = (grader) =>
  waiting.filter((entry) => entry.path === "/api/grade" && entry.body.grader === grader).map((entry) => entry.body);

export const lastTrouble = () => trouble;
export const pendingFor = (token) => waiting.some((entry) => entry.body.object === token);
export const stepping = () => waiting.some((entry) => entry.path !== "/api/grade");

function named() {
  const random = crypto.getRandomValues(new Uint32Array(3));
  return Array.from(random, (part) => part.toString(36)).join("-");
}

export function push(path, values) {
  counter += 1;
  turns += 1;
  const body = { grader: state.grader, ...values, once: named() };
  // They go in the order of their keys, whatever becomes of the clock.
  latest = Math.max(latest, Date.now());
  const key = `${prefix()}${String(latest).padStart(15, "0")}-${String(counter).padStart(6, "0")}`;
  const entry = { key, path, body };
  waiting.push(entry);
  try { localStorage.setItem(key, JSON.stringify({ path, body })); } catch { /* then it is only in the page */ }
  emit("queue");
  send();
}

// What a page that was closed or crashed left unsaved goes first.
export function resume() {
  try {
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(prefix())).sort();
    for (const key of keys) waiting.push({ key, ...JSON.parse(localStorage.getItem(key)) });
    if (keys.length) latest = Number(keys.at(-1).slice(prefix().length).split("-")[0]) + 1;
  } catch { /* forbidden, or not ours */ }
  if (waiting.length) { emit("queue"); send(); }
}

function forget(entry) {
  turns += 1;
  waiting.splice(waiting.indexOf(entry), 1);
  try { localStorage.removeItem(entry.key); } catch { /* as above */ }
}

async function send() {
  if (sending) return;
  sending = true;
  let pause = 250;
  while (waiting.length) {
    const entry = waiting[0];
    try {
      const answer = await post(entry.path, entry.body);
      forget(entry);
      trouble = null;
      pause = 250;
      emit("saved", { entry, answer });
    } catch (error) {
      if (passing(error) || error.status === 401) {
        trouble = error.status ? error.message : "the server does not answer";
        emit("queue");
        await new Promise((resolve) => { setTimeout(resolve, pause); });
        pause = Math.min(pause * 2, 4000);
        continue;
      }
      forget(entry);
      emit("refused", { entry, error });
    }
    emit("queue");
  }
  sending = false;
}

addEventListener("beforeunload", (event) => { if (waiting.length) event.preventDefault(); });
