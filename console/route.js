/** Addresses of views: `#/orders?queue=paid`. */

/** @param {string} path @param {Record<string, string>} [query] */
export function go(path, query = {}) {
  const text = new URLSearchParams(query).toString();
  location.hash = text ? `${path}?${text}` : path;
}

/** The parts of the current address. @returns {{parts: string[], query: URLSearchParams}} */
export function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").map(decode), query: new URLSearchParams(query) };
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
