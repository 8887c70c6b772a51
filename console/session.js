/** Who calls: the configuration beside the page, the callers, and what the current one may do. */

/**
 * @typedef {{name: string, sub: string, token: string}} Caller
 * @typedef {{api: string, local: boolean, currency?: string}} Config
 */

const REMEMBERED = "orders.caller";

export const session = {
  /** @type {Config} */
  config: { api: "", local: false },
  /** @type {Caller[]} */
  callers: [],
  /** @type {Caller | undefined} */
  caller: undefined,
  /** The local stack's own description. @type {any} */
  stack: undefined,
};

/** Reads the configuration, and on the local stack its ready callers. */
export async function start() {
  session.config = await read("./config.json");
  if (session.config.local) await renew();
}

/** Fetches the ready tokens again, since a restarted stack signs with another key. */
export async function renew() {
  session.stack = await read("./dev/stack");
  const { tokens, users } = session.stack;
  session.callers = Object.keys(tokens).map((name) => ({ name, sub: users[name], token: tokens[name] }));
  choose(session.caller?.name ?? localStorage.getItem(REMEMBERED) ?? "admin");
}

/** @param {string} name */
export function choose(name) {
  session.caller = session.callers.find((caller) => caller.name === name) ?? session.callers[0];
  if (session.caller) localStorage.setItem(REMEMBERED, session.caller.name);
}

/** The scopes of the current token, without their prefix: for display only, the API decides. @returns {string[]} */
export function scopes() {
  const payload = session.caller?.token.split(".")[1];
  if (!payload) return [];
  try {
    const bytes = Uint8Array.from(atob(payload.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
    const { scope, scp } = JSON.parse(new TextDecoder().decode(bytes));
    const names = scope ?? scp ?? [];
    return (Array.isArray(names) ? names : String(names).split(/\s+/)).map((name) => name.replace(/^.*[:/]/, ""));
  } catch {
    return [];
  }
}

/** Whether the current caller has any of these scopes. @param {...string} wanted */
export function may(...wanted) {
  return scopes().some((scope) => scope === "admin" || wanted.includes(scope));
}

/** @param {string} url */
async function read(url) {
  const response = await fetch(url, { cache: "no-store" });
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.json();
}
