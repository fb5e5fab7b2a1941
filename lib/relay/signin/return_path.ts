/** Where a browser goes after it has signed in: the path that it asked for, on the same origin. */

/** A path is sealed into URLs and must leave them short enough for proxies and providers. */
const maxUnits = 2_048;

/**
 * A request's path and query as they were sent, if a browser can be sent there; else `/`. A browser
 * takes `//host` and `/\host` for other hosts, and drops control characters before it looks.
 */
export function returnPathOf(target: string): string {
  const path = target.startsWith("/") ? target : target.replace(/^https?:\/\/[^/?#]*/i, "");
  return isReturnPath(path) ? path : "/";
}

/** Whether a path leads to a page of the same origin that is not the relay's own. */
export function isReturnPath(path: unknown): path is string {
  if (typeof path !== "string" || path.length > maxUnits) return false;
  if (!/^\/(?![/\\])[\x21-\x7e]*$/.test(path)) return false;
  return [path, leniently(path)].every(isElsewhere);
}

/** Whether a path leads elsewhere as browsers read it: `\` is `/`, and dots lead to the folder above. */
function isElsewhere(path: string): boolean {
  if (/^\/[/\\]/.test(path)) return false;
  const pathname = URL.parse(`https://host${path}`)?.pathname;
  return pathname !== undefined && !/^\/+\.culvert(?:\/|$)/i.test(pathname);
}

/** A path as read by somebody who decodes it, and drops blanks and control characters. */
function leniently(path: string): string {
  const decoded = path.replace(
    /%([0-9a-f]{2})/gi,
    (_, hex: string) => String.fromCharCode(parseInt(hex, 16)),
  );
  return [...decoded].filter((character) => character > " ").join("");
}
