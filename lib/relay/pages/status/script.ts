/** The script of the status page: it keeps the page up to date, which works without it. */

/** Where it is. */
export const scriptPath = "/.culvert/status.js";

/**
 * On each event the page is fetched anew, and its parts are replaced that have changed. What somebody
 * is typing into, selects or has opened stays.
 */
export const script = `"use strict";
(() => {
  const shown = document.getElementById("live");
  const say = (text, kind) => {
    if (!shown) return;
    shown.textContent = text;
    shown.className = "state " + kind;
    shown.hidden = false;
  };

  const isInUse = (part) => {
    const active = document.activeElement;
    if (active && active.tagName === "INPUT" && part.contains(active)) return true;
    const selection = getSelection();
    return selection && !selection.isCollapsed && selection.containsNode(part, true);
  };

  const replace = (old, fresh) => {
    for (const details of old.querySelectorAll("details[open]")) {
      const same = details.id && fresh.querySelector("#" + CSS.escape(details.id));
      if (same) same.open = true;
    }
    if (old.isEqualNode(fresh) || isInUse(old)) return;
    const active = document.activeElement;
    const focused = active && old.contains(active) && active.getAttribute("href");
    old.replaceWith(document.importNode(fresh, true));
    if (!focused) return;
    const again = document.querySelector("a[href=" + JSON.stringify(focused) + "]");
    if (again) again.focus();
  };

  let events;
  const over = () => {
    events.close();
    say("Session ended: load the page again", "bad");
  };

  let isLoading = false;
  let isOld = false;
  const load = async () => {
    if (document.hidden) { isOld = true; return; }
    if (isLoading) { isOld = true; return; }
    isLoading = true;
    isOld = false;
    try {
      const answer = await fetch(location.href, { cache: "no-store", redirect: "manual" });
      if (answer.status === 401 || answer.status === 403 || answer.type === "opaqueredirect") {
        return over();
      }
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const old of document.querySelectorAll("[data-live]")) {
        const fresh = page.getElementById(old.id);
        if (fresh) replace(old, fresh);
      }
    } catch {
      say("Not reachable", "warn");
    } finally {
      isLoading = false;
      if (isOld && !document.hidden) setTimeout(load, 1000);
    }
  };

  const listen = () => {
    events = new EventSource("/status/events");
    events.addEventListener("open", () => say("Live", "good"));
    events.addEventListener("changed", load);
    events.addEventListener("over", over);
    events.addEventListener("error", () => {
      say("Not live", "warn");
      if (events.readyState === EventSource.CLOSED) setTimeout(listen, 30000);
    });
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden && isOld) load(); });
  listen();
})();
`;
