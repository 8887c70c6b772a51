/** Elements are built by calls: text is only ever text. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @typedef {Node | string | number | false | null | undefined} Child
 * @typedef {Record<string, string | number | boolean | EventListener | null | undefined>} Attributes
 */

/** @param {Element} element @param {Attributes} attributes @param {Child[]} children */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...present(children));
  return element;
}

/** @param {Child[]} children @returns {(Node | string)[]} */
function present(children) {
  return children
    .flat()
    .filter((child) => child !== false && child !== null && child !== undefined)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/**
 * An element of HTML. A function among the attributes listens to the event of that name.
 * @param {string} tag @param {Attributes} [attributes] @param {...(Child | Child[])} children @returns {any}
 */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children.flat());
}

/** An element of SVG. @param {string} tag @param {Attributes} [attributes] @param {...Child} children @returns {any} */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Replaces what is in an element. @param {Element} element @param {...(Child | Child[])} children */
export function show(element, ...children) {
  element.replaceChildren(...present(children.flat()));
  return element;
}

/** @param {string} label @param {() => void} act @param {Attributes} [attributes] */
export function button(label, act, attributes = {}) {
  return el("button", { type: "button", click: act, ...attributes }, label);
}

/** Names and values; those without a value are left out. @param {[string, Child | Child[]][]} entries */
export function facts(entries) {
  const known = entries.filter(([, value]) => value !== undefined && value !== null && value !== false);
  return el("dl", { class: "facts" }, known.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

/**
 * A table that scrolls by itself on a narrow screen.
 * @param {string} caption @param {string[]} heads a head that begins with "#" is of numbers @param {Child[][]} rows
 */
export function table(caption, heads, rows) {
  const numeric = heads.map((head) => head.startsWith("#"));
  const cell = (/** @type {Child} */ value, /** @type {number} */ column) => el("td", { class: numeric[column] && "number" }, value);
  const head = heads.map((text, column) => el("th", { scope: "col", class: numeric[column] && "number" }, text.replace(/^#/, "")));
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, head)),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell))))),
  );
}

/** Replaces what is in an element; a link or button of the same name keeps the focus. @param {Element} element @param {...Child} children */
export function update(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const name = (/** @type {Element} */ one) => `${one.getAttribute("href")} ${one.textContent}`;
  show(element, ...children);
  const same = focused && [...element.querySelectorAll("a, button")].find((one) => name(one) === name(focused));
  /** @type {HTMLElement | null} */ (same)?.focus();
}

/** Tells a screen reader. @param {string} text */
export function announce(text) {
  show(/** @type {Element} */ (document.getElementById("announcer")), text);
}
