/** `Date` in answers that a test compares whole: its value changes with the clock. */

const line = /^Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n/m;

/** The text of an answer without its `Date`, which must be there once and of RFC 9110's form. */
export function withoutDate(text: string): string {
  const rest = text.replace(line, "");
  if (rest === text || line.test(rest)) throw new Error(`Date must come once: ${text}`);
  return rest;
}
