// Start the page.

import { get, passing } from "./api.js";
import { loadGrades } from "./actions.js";
import { startControls } from "./controls.js";
import { startDialogs } from "./dialogs.js";
import { $, toast } from "./dom.js";
import { startKeys } from "./keys.js";
import { startMosaic } from "./mosaic.js";
import * as queue from "./queue.js";
import { recall, state } from "./state.js";
import { startSingle } from "./single.js";

async function begin() {
  try {
    state.start = await get("/api/start");
  } catch (error) {
    if (!passing(error)) { toast(error.message); return; }
    $("saved").textContent = "the server does not answer; trying again";
    setTimeout(begin, 1000);
    return;
  }
  recall();
  if (location.hash) history.replaceState(null, "", location.pathname);
  startMosaic();
  startSingle();
  startControls();
  startKeys();
  queue.resume();
  await startDialogs();
}

// Grades may have been given in another window meanwhile.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && state.grader) loadGrades().catch(() => {});
});

begin();
