/** The API description as a page. */

import { el, show, table } from "./dom.js";

/** @param {Element} main */
export function describeApi(main) {
  const place = el("div", {}, el("p", { class: "quiet" }, "Loading…"));
  show(main, el("h1", { tabindex: -1 }, "API"), place);
  load(place);
}

/** @param {Element} place */
async function load(place) {
  let api;
  try {
    api = await (await fetch("./openapi.json")).json();
  } catch {
    return show(place, el("p", { class: "warn" }, "The description cannot be loaded."));
  }
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item).filter(([method]) => ["get", "post", "put", "delete"].includes(method)).map(([method, operation]) => ({ path, method, operation, shared: item.parameters ?? [] })));
  return show(place,
    el("p", {}, el("a", { href: "./openapi.yaml" }, "openapi.yaml"), ` – OpenAPI ${api.openapi}, version ${api.info.version}`),
    el("details", { class: "panel" }, el("summary", {}, "Rules for all of it"), prose(api.info.description)),
    api.tags.map((/** @type {any} */ tag) => el("section", {}, el("h2", {}, tag.name),
      operations.filter(({ operation }) => operation.tags.includes(tag.name)).map((one) => describe(api, one)))),
    el("section", {}, el("h2", {}, "Schemas"), Object.entries(api.components.schemas).map(([name, schema]) =>
      el("details", { class: "panel operation", id: `schema-${name}` }, el("summary", {}, name), schema.description && prose(schema.description), el("pre", {}, JSON.stringify(schema, null, 2))))));
}

/** @param {any} api @param {{path: string, method: string, operation: any, shared: any[]}} one */
function describe(api, { path, method, operation, shared }) {
  const resolve = (/** @type {any} */ node) => (node.$ref ? node.$ref.slice(2).split("/").reduce((/** @type {any} */ at, /** @type {string} */ part) => at[part], api) : node);
  const scopes = (operation.security ?? []).flatMap((/** @type {any} */ one) => Object.values(one)).flat().join(" or ");
  const parameters = [...shared, ...(operation.parameters ?? [])].map(resolve).map((parameter) => [el("code", {}, parameter.name), parameter.in, parameter.required ? "required" : "", inline(parameter.description ?? "")]);
  const responses = Object.entries(operation.responses).map(([status, response]) => [status, inline(resolve(response).description)]);
  const body = operation.requestBody?.content["application/json"];
  return el("details", { class: "panel operation" },
    el("summary", {}, el("b", { class: "method" }, method.toUpperCase()), " ", el("code", {}, path), " ", el("span", { class: "quiet" }, operation.summary)),
    operation.description && prose(operation.description),
    el("p", {}, "Scope: ", el("code", {}, scopes)),
    table("Parameters", ["Name", "In", "", "What it is"], parameters),
    body && [el("h3", {}, "Body"), el("p", {}, "Schema ", el("code", {}, body.schema.$ref?.replace(/^.*\//, "") ?? "")), el("pre", {}, JSON.stringify(body.example, null, 2))],
    table("Responses", ["Status", "Meaning"], responses));
}

/** Paragraphs. @param {string} text */
function prose(text) {
  return el("div", {}, text.trim().split(/\n\s*\n/).map((paragraph) => el("p", {}, inline(paragraph))));
}

/** Text with `code` and **strong** parts. @param {string} text @returns {any} */
function inline(text) {
  return el("span", {}, text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`")) return el("code", {}, part.slice(1, -1));
    return part.startsWith("**") ? el("strong", {}, part.slice(2, -2)) : part;
  }));
}
