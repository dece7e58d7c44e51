// The keyboard: what every key does, in one table, which the help shows.

import { go, goUngraded, grade, loadSimilar, loadStream, redo, setView, undo } from "./actions.js";
import { nextIn, setBands } from "./controls.js";
import { $, say } from "./dom.js";
import { openHelp, openStatistics } from "./dialogs.js";
import { move, turn } from "./mosaic.js";
import { emit, keep, state } from "./state.js";
import { wholeStamp, zoom } from "./viewer.js";

const mosaic = () => state.view === "mosaic";
const step = (across, down) => (mosaic() ? move(across, down) : across && go(state.at + across));

function toggle(id) { $(id).checked = !$(id).checked; $(id).dispatchEvent(new Event("change")); }

function toComment() {
  setView("single");
  $("comment").focus();
}

function flags() {
  if (mosaic()) return;
  $("layer").value = state.layer === "flags" ? "" : "flags";
  $("layer").dispatchEvent(new Event("change"));
}

// [keys, words for the help, what to do]
export const KEYS = [
  [["a"], "grade A: a lens", () => grade("A")],
  [["b"], "grade B: probably one", () => grade("B")],
  [["c"], "grade C: possibly one", () => grade("C")],
  [["x"], "grade X: no lens", () => grade("X")],
  [["u"], "take back the last grade (also Ctrl Z)", undo],
  [["U"], "give it again (also Ctrl Shift Z)", redo],
  [["n"], "write a comment", toComment],
  [["ArrowLeft", "k"], "previous candidate", () => step(-1, 0)],
  [["ArrowRight", "j"], "next candidate", () => step(1, 0)],
  [["ArrowUp"], "a row up", () => step(0, -1)],
  [["ArrowDown"], "a row down", () => step(0, 1)],
  [["PageDown", "]"], "next page", () => (mosaic() ? turn(1) : go(state.at + 1))],
  [["PageUp", "["], "previous page", () => (mosaic() ? turn(-1) : go(state.at - 1))],
  [["Home"], "first candidate", () => go(0)],
  [["End"], "last candidate", () => go(state.shown.length - 1)],
  [["g"], "next one without a grade", goUngraded],
  [["v"], "mosaic or single", () => setView(mosaic() ? "single" : "mosaic")],
  [["Escape"], "back to the mosaic", () => setView("mosaic")],
  [["s"], "next stretch", () => nextIn("stretch", 1)],
  [["S"], "previous stretch", () => nextIn("stretch", -1)],
  [["d"], "next bands", () => nextIn("bands", 1)],
  [["1", "2", "3", "4", "5", "6", "7", "8", "9"], "bands by their place", (key) => setBands(state.start.combinations[Number(key) - 1])],
  [["m"], "outline of masks", () => toggle("outlines")],
  [["p"], "smooth or single pixels", () => toggle("smooth")],
  [["f"], "flags in colour", flags],
  [["o"], "next overlay", () => { if (!mosaic()) nextIn("layer", 1); }],
  [["+", "="], "zoom in", () => zoom(1.5)],
  [["-"], "zoom out", () => zoom(1 / 1.5)],
  [["0"], "whole stamp", wholeStamp],
  [["w"], "similar objects", loadSimilar],
  [["r"], "choose anew what is shown", () => { loadStream(); say("Loaded again."); }],
  [["/"], "filter", () => { $("head").classList.add("open"); $("where").focus(); }],
  [["t"], "statistics", openStatistics],
  [["?"], "this help", () => openHelp(KEYS)],
];

const table = new Map(KEYS.flatMap(([keys, , act]) => keys.map((key) => [key, act])));
const TYPING = "input:not([type=checkbox]), textarea, select";

export function startKeys() {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const undoing = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
    if (event.target.matches?.(TYPING)) {
      if (event.key === "Escape") { event.target.blur(); $("main").focus(); }
      return;
    }
    if (undoing) { event.preventDefault(); (event.shiftKey ? redo : undo)(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // A key that is held down grades one object, not the next ten.
    if (event.repeat && "abcxABCX".includes(event.key)) return;
    const act = table.get(event.key) ?? table.get(event.key.toLowerCase());
    if (!act) return;
    event.preventDefault();
    act(event.key);
  });
  $("to-help").addEventListener("click", () => openHelp(KEYS));
  emit("keys");
  keep();
}
