// Pictures from the server, kept as blobs; one that was fetched ahead is there at once.

import { kept, query } from "./api.js";
import { state } from "./state.js";

const MOST = 80;
const held = new Map();

export function picture(url) {
  const found = held.get(url);
  if (found) {
    held.delete(url);
    held.set(url, found);
    return found;
  }
  const made = fetched(url);
  held.set(url, made);
  made.catch(() => held.delete(url));
  while (held.size > MOST) {
    const [oldest, promise] = held.entries().next().value;
    held.delete(oldest);
    promise.then((address) => URL.revokeObjectURL(address), () => {});
  }
  return made;
}

async function fetched(url) {
  const [data, stays] = await kept(url);
  const address = URL.createObjectURL(data);
  // One that lacks a stamp, as while a field is computed again, is asked for anew next time.
  if (!stays) { held.delete(url); setTimeout(() => URL.revokeObjectURL(address), 60000); }
  const probe = new Image();
  probe.src = address;
  await probe.decode();
  return address;
}

const common = () => ({ v: state.start.version, stretch: state.stretch });

export const sheetUrl = (numbers) =>
  query("/picture/sheet", { ...common(), bands: state.bands, outlines: state.outlines ? 1 : 0, n: numbers.join(",") });
export const stampUrl = (number) => query("/picture/stamp", { ...common(), bands: state.bands, n: number });
export const stripUrl = (number) => query("/picture/strip", { ...common(), n: number });
export const layerUrl = (number, layer) =>
  layer === "flags"
    ? query("/picture/flags", { v: state.start.version, n: number })
    : query("/picture/map", { v: state.start.version, n: number, kind: layer });

// Show one cell of a sheet as the background of an element.
export function cell(element, address, place, columns, rows) {
  const x = columns > 1 ? (100 * (place % columns)) / (columns - 1) : 0;
  const y = rows > 1 ? (100 * Math.floor(place / columns)) / (rows - 1) : 0;
  element.style.backgroundImage = address ? `url("${address}")` : "";
  element.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
  element.style.backgroundPosition = `${x}% ${y}%`;
}
