/** Calls of the public API. Every response, and the lack of one, is a value: nothing is thrown. */

import { session } from "./session.js";

/**
 * @typedef {object} Reply
 * @property {number} status 0 without a response
 * @property {boolean} ok
 * @property {any} body JSON, or text of another type
 * @property {Headers} headers
 * @property {boolean} sent whether a command may have been executed
 *
 * @typedef {object} Options
 * @property {unknown} [body]
 * @property {string} [key] the idempotency key
 * @property {number} [ifMatch] the version that the order must have
 * @property {string} [accept]
 */

/** Signals `limits` after a response with quotas, `away` and `back`. */
export const signals = new EventTarget();

/** The quotas of the current caller, by policy. @type {Map<string, {limit: number, window: number, remaining: number, reset: number, at: number}>} */
export const limits = new Map();

/** Forgets the quotas of another caller. */
export function forgetLimits() {
  limits.clear();
}

let away = false;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5_000;

/** @param {string} method @param {string} path @param {Options} [options] @returns {Promise<Reply>} */
export async function call(method, path, options = {}) {
  const headers = new Headers({ accept: options.accept ?? "application/json" });
  if (session.caller) headers.set("authorization", `Bearer ${session.caller.token}`);
  if (options.key) headers.set("idempotency-key", `"${options.key}"`);
  if (options.ifMatch !== undefined) headers.set("if-match", `"${options.ifMatch}"`);
  if (options.body !== undefined) headers.set("content-type", "application/json");
  const body = options.body === undefined ? undefined : JSON.stringify(options.body);
  try {
    const response = await fetch(session.config.api + path, { method, headers, body, cache: "no-store" });
    const text = await response.text();
    noteLimits(response.headers);
    return { status: response.status, ok: response.ok, body: parse(response, text), headers: response.headers, sent: method !== "GET" };
  } catch {
    lost();
    return { status: 0, ok: false, body: undefined, headers: new Headers(), sent: method !== "GET" };
  }
}

/** @param {string} path @param {Record<string, string | number | undefined>} [query] */
export function get(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return call("GET", text ? `${path}?${text}` : path);
}

/**
 * A number exactly as it was typed; other text stays text, which the API rejects at its field.
 * @param {string} text
 */
export function number(text) {
  const typed = text.trim();
  if (!/^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(typed)) return typed;
  const raw = /** @type {any} */ (JSON).rawJSON;
  return raw ? raw(typed) : Number(typed);
}

/** @param {Response} response @param {string} text */
function parse(response, text) {
  if (!/json/.test(response.headers.get("content-type") ?? "")) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** @param {Headers} headers */
function noteLimits(headers) {
  const field = (/** @type {string} */ name) => [...(headers.get(name) ?? "").matchAll(/"([^"]*)"([^,]*)/g)];
  const parameter = (/** @type {string} */ text, /** @type {string} */ name) => Number(new RegExp(`;${name}=(\\d+)`).exec(text)?.[1]);
  for (const [, name, policy] of field("ratelimit-policy")) {
    const [, , state] = field("ratelimit").find(([, other]) => other === name) ?? [];
    if (state === undefined) continue;
    const [remaining, reset] = [parameter(state, "r"), parameter(state, "t")];
    limits.set(name, { limit: parameter(policy, "q"), window: parameter(policy, "w"), remaining, reset, at: Date.now() });
    signals.dispatchEvent(new Event("limits"));
  }
}

/** The API cannot be reached: tries until it can. */
async function lost() {
  if (away) return;
  away = true;
  signals.dispatchEvent(new Event("away"));
  for (let pause = FIRST_PAUSE; away; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    try {
      // Any response will do, also one that the page may not read.
      await fetch(`${session.config.api}/config.json`, { mode: "no-cors", cache: "no-store" });
      away = false;
    } catch {
      // It is still away.
    }
  }
  signals.dispatchEvent(new Event("back"));
}
