// Requests to the server that served this page.

const PATIENCE = 15000;
const LONG = 180000;  // where a network is loaded, or all embeddings are read

export class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function ask(path, options = {}) {
  const slow = /^\/(picture\/map|api\/similar|export)/.test(path);
  const answer = await fetch(path, { ...options, signal: AbortSignal.timeout(slow ? LONG : PATIENCE), credentials: "same-origin" });
  if (answer.ok) return answer;
  const text = await answer.text();
  let said = text;
  try { said = JSON.parse(text).detail ?? text; } catch { /* the guard answers in plain text */ }
  throw new Refused(answer.status, typeof said === "string" ? said : JSON.stringify(said));
}

export function query(path, values = {}) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

export async function get(path, values) { return (await ask(query(path, values))).json(); }

export async function blob(url) { return (await ask(url)).blob(); }

// The same, and whether it may be kept.
export async function kept(url) {
  const answer = await ask(url);
  return [await answer.blob(), answer.headers.get("cache-control") !== "no-store"];
}

export async function post(path, values) {
  const headers = { "content-type": "application/json" };
  return (await ask(path, { method: "POST", headers, body: JSON.stringify(values) })).json();
}

// No answer, or one that says that the server failed: trying again may help.
export const passing = (error) => !(error instanceof Refused) || error.status >= 500;
