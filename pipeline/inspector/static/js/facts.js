// What is known of one candidate, as text.

import { el, significant } from "./dom.js";

const NAMES = {
  score: "score", score_std: "spread of members", joint_score: "score and map together", gate_score: "gates alone",
  ood: "unfamiliar", arc_area: "lens light, arcsec²", artefact_overlap: "artefacts cover, share",
};
const PARAMETERS = {
  theta_E: "Einstein radius", mass_e1: "mass e1", mass_e2: "mass e2", shear_1: "shear 1", shear_2: "shear 2",
  source_x: "source, x", source_y: "source, y",
};

const list = (pairs) => el("dl", {}, ...pairs.flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, value)]));
const present = (values) => Object.entries(values ?? {}).filter(([, value]) => value !== null);
const flag = (said, fatal, more = "") =>
  el("span", { class: fatal ? "flag fatal" : "flag", title: said.meaning }, said.name.toLowerCase().replaceAll("_", " ") + more);

export function showFacts(box, said) {
  box.replaceChildren(...[...opinion(said), ...place(said), ...measured(said), ...flags(said)].filter(Boolean));
}

export function showGrades(box, said) {
  box.replaceChildren(
    el("h3", {}, "Everybody's grades"),
    said.grades.length
      ? list(said.grades.map((one) => [one.grader, [one.grade ?? "no grade", one.comment].filter(Boolean).join(": ")]))
      : el("p", { class: "soft" }, "Nobody has graded it."),
    ...(said.consensus ? [el("p", {}, `Median: ${said.consensus}`)] : []),
  );
}

function opinion(said) {
  if (said.members === undefined) return [];
  const { score, score_std: spread, ...rest } = said.numbers;
  const parts = [
    el("h3", {}, "Score"),
    el("p", {}, el("span", { class: "score" }, score === undefined ? "none" : significant(score, 4)),
      spread === undefined ? "" : el("span", { class: "soft" }, ` ± ${significant(spread, 2)}`)),
    ...Object.entries(said.members).map(([name, value]) =>
      el("div", { class: "member" }, el("span", { class: "soft" }, name), el("span", {}, significant(value)),
        el("meter", { min: 0, max: 1, value: value ?? 0, "aria-label": `score of ${name}` }))),
    list(present(rest).map(([name, value]) => [NAMES[name] ?? name, significant(value)])),
  ];
  if (said.parameters.length) parts.push(
    el("h3", {}, "Lens parameters"),
    list(said.parameters.map(({ name, value, std, unit }) =>
      [PARAMETERS[name] ?? name, `${significant(value)} ± ${significant(std, 2)}${unit === "arcsec" ? "″" : ""}`])),
    said.trusted ? "" : el("p", { class: "soft" }, "Not to be trusted: unlike what the network was trained on."),
  );
  if (said.opinions.length) parts.push(el("p", {}, ...said.opinions.map((one) => flag(one, false))));
  if (said.known) {
    const grading = [said.known.grade, said.known.reference].filter(Boolean).join(", ");
    parts.push(el("h3", {}, "Nearest known lens"),
      el("p", {}, `${said.known.name || "without a name"}, ${significant(said.known.separation)}″ away${grading ? ` (${grading})` : ""}`));
  }
  parts.push(el("h3", {}, "Row"), list([
    ["objid", el("code", {}, said.objid)], ["field", said.field], ["primary", said.primary ? "yes" : "no, a copy"],
  ]));
  return parts;
}

function place(said) {
  if (said.ra === undefined) return [];
  return [
    el("h3", {}, "Position"),
    list([["deg", el("code", {}, `${said.ra.toFixed(6)} ${said.dec >= 0 ? "+" : ""}${said.dec.toFixed(6)}`)],
      ["h m s, ° ′ ″", el("code", {}, said.position)]]),
    el("p", { class: "links" }, ...said.links.map((link) =>
      el("a", { href: link.url, target: "_blank", rel: "noopener noreferrer" }, link.name))),
  ];
}

function measured(said) {
  const parts = [];
  const magnitudes = present(said.magnitudes);
  const seeing = present(said.seeing);
  if (magnitudes.length || seeing.length) {
    parts.push(el("h3", {}, "Measured"), list([
      ...(magnitudes.length ? [["mag", magnitudes.map(([band, value]) => `${band} ${value.toFixed(2)}`).join("  ")]] : []),
      ...(seeing.length ? [["seeing, ″", seeing.map(([band, value]) => `${band} ${value.toFixed(2)}`).join("  ")]] : []),
    ]));
  }
  return parts;
}

function flags(said) {
  const parts = [];
  if (said.vet?.length) parts.push(el("h3", {}, "Vet flags"), el("p", {}, ...said.vet.map((one) => flag(one, false))));
  if (said.picture?.flags.length) {
    parts.push(el("h3", {}, "Pixel flags"), el("p", {}, ...said.picture.flags.map((one) => flag(one, one.fatal, ` · ${one.bands.join("")}`))));
  }
  if (said.picture) {
    const across = (said.picture.size * said.picture.scale).toFixed(1);
    parts.push(el("p", { class: "soft" }, `${across}″ across, ${said.picture.scale.toFixed(3)}″ a pixel, bands ${said.picture.bands.join(" ")}`));
  }
  return parts;
}
