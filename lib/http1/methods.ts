/** What is known of methods by their names (RFC 9110 section 9). */

/** Those that ask for no change (RFC 9110 section 9.2.1), and so may be carried out twice. */
const safe = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);
const unsafe = ["POST", "PUT", "PATCH", "DELETE", "CONNECT"];
const known = new Set([...safe, ...unsafe]);

/** Whether a method asks for no change. */
export function isSafeMethod(method: string): boolean {
  return safe.has(method);
}

/** Whether a method is one of RFC 9110's or PATCH (RFC 5789): others are callers' inventions. */
export function isKnownMethod(method: string): boolean {
  return known.has(method);
}
