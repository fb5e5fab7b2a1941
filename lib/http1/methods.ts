/** What is known of methods by their names (RFC 9110 section 9). */

/** Those that ask for no change (RFC 9110 section 9.2.1), and so may be carried out twice. */
const safe = new Set(["GET", "HEAD", "OPTIONS"]);
const unsafe = ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE"];
const known = new Set([...safe, ...unsafe]);

/**
 * Methods whose answer holds the request: TRACE (RFC 9110 section 9.3.8), and TRACK, which is IIS's
 * word for it. Behind the agent the request has the target's credential.
 */
const echoing = new Set(["TRACE", "TRACK"]);

/** Value of `Allow` where a method is refused. Methods of other RFCs pass too. */
export const allowedMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/** Whether a method asks for no change. */
export function isSafeMethod(method: string): boolean {
  return safe.has(method);
}

/** Whether a method is one of RFC 9110's or PATCH (RFC 5789): others are callers' inventions. */
export function isKnownMethod(method: string): boolean {
  return known.has(method);
}

/** Whether a target may answer with the request itself; some do not look at a method's case. */
export function mayEcho(method: string): boolean {
  return method.length === 5 && echoing.has(method.toUpperCase());
}
