/** The field `Date` (RFC 9110 section 6.6.1). */
import { type Field, field } from "./head.ts";

let second = NaN;
let current = field("Date", "");

/** The field with the time of now. It changes once a second, so one is kept. */
export function dateField(): Field {
  const now = Math.floor(Date.now() / 1000);
  if (now !== second) {
    second = now;
    current = field("Date", new Date(now * 1000).toUTCString());
  }
  return current;
}
