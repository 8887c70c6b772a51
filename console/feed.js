/** What the local stack does, as server-sent events. */

/** The one connection: a browser has six to a host. @type {EventSource | undefined} */
let connection;

addEventListener("hashchange", () => connection?.close());

/**
 * Follows it as long as the element shows this view.
 * @param {Element} view
 * @param {Record<string, (value: any) => void>} handlers by the names of the events; `start` is called when the stack was restarted
 */
export function follow(view, handlers) {
  const first = view.firstChild;
  let current = "";
  connection?.close();
  const source = new EventSource("./dev/live");
  connection = source;
  for (const name of ["bus", "log", "streams", "payments"]) {
    source.addEventListener(name, (event) => {
      // The view was left.
      if (view.firstChild !== first) return source.close();
      const start = event.lastEventId.split(" ")[0];
      if (current && start !== current) handlers.start?.(undefined);
      current = start;
      return handlers[name]?.(JSON.parse(event.data));
    });
  }
  // After an error that it does not recover from by itself.
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(() => {
      if (view.firstChild !== first) return;
      // The newest events come again.
      handlers.start?.(undefined);
      follow(view, handlers);
    }, 2000);
  });
}

/** Reads a view again soon after something has happened, at most once in a while. @param {Element} view */
export function refreshOnEvents(view) {
  let due = false;
  const soon = () => {
    if (due) return;
    due = true;
    setTimeout(() => {
      due = false;
      for (const part of view.querySelectorAll(".refreshes")) part.dispatchEvent(new Event("refresh"));
    }, 1000);
  };
  let calm = false;
  setTimeout(() => { calm = true; }, 500);
  follow(view, { bus: () => calm && soon(), payments: () => calm && soon() });
}
