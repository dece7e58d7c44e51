// Zoom and pan of the stamp, by wheel, fingers and buttons; a swipe on the whole stamp goes to the next one.

import { $ } from "./dom.js";

const MOST = 16;
const SWIPE = 60;
let scale = 1;
let x = 0;
let y = 0;
let side = 0;
const fingers = new Map();
let began = null;

function place() {
  const half = side / 2;
  const room = Math.max(0, (scale - 1) * half);
  x = Math.max(-room, Math.min(room, x));
  y = Math.max(-room, Math.min(room, y));
  $("sky").style.transform = `translate(${x - half * scale}px, ${y - half * scale}px) scale(${scale})`;
}

function fit() {
  const stage = $("stage");
  side = Math.min(stage.clientWidth, stage.clientHeight);
  $("sky").style.width = `${side}px`;
  $("sky").style.height = `${side}px`;
  place();
}

export function zoom(factor, at = { x: 0, y: 0 }) {
  const to = Math.max(1, Math.min(MOST, scale * factor));
  x = at.x - ((at.x - x) * to) / scale;
  y = at.y - ((at.y - y) * to) / scale;
  scale = to;
  place();
}

export function wholeStamp() { scale = 1; x = 0; y = 0; place(); }

function middle(event) {
  const box = $("stage").getBoundingClientRect();
  return { x: event.clientX - box.left - box.width / 2, y: event.clientY - box.top - box.height / 2 };
}

const apart = ([one, other]) => Math.hypot(one.x - other.x, one.y - other.y);

export function startViewer(step) {
  const stage = $("stage");
  new ResizeObserver(fit).observe(stage);
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, middle(event));
  }, { passive: false });
  stage.addEventListener("dblclick", wholeStamp);
  stage.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button")) return;
    stage.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, middle(event));
    began = fingers.size === 1 ? { ...middle(event), touch: event.pointerType === "touch" } : null;
  });
  stage.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = middle(event);
    if (fingers.size === 2) {
      const wide = apart([...fingers.values()]);
      fingers.set(event.pointerId, now);
      if (wide > 0) zoom(apart([...fingers.values()]) / wide, now);
      return;
    }
    fingers.set(event.pointerId, now);
    x += now.x - before.x;
    y += now.y - before.y;
    place();
  });
  const lift = (event) => {
    const there = fingers.delete(event.pointerId);
    if (!there || !began || event.type === "pointercancel") return;
    const [across, down] = [middle(event).x - began.x, middle(event).y - began.y];
    if (began.touch && scale === 1 && Math.abs(across) > SWIPE && Math.abs(across) > 2 * Math.abs(down)) step(across < 0 ? 1 : -1);
    began = null;
  };
  stage.addEventListener("pointerup", lift);
  stage.addEventListener("pointercancel", lift);
  $("zoom-in").addEventListener("click", () => zoom(1.5));
  $("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
  $("zoom-reset").addEventListener("click", wholeStamp);
}
