/** What people paste with a token. */

const quotes: ReadonlyMap<string, string> = new Map([
  ['"', "double quotes"],
  ["'", "single quotes"],
  ["`", "backticks"],
  ["\u201c", "typographic quotes"],
  ["\u201e", "typographic quotes"],
  ["\u2018", "typographic quotes"],
  ["\u201a", "typographic quotes"],
]);

const closing: ReadonlyMap<string, string> = new Map([
  ["\u201c", "\u201d"],
  ["\u201e", "\u201c"],
  ["\u2018", "\u2019"],
  ["\u201a", "\u2018"],
]);

/** Says in which quotes a text is, or nothing; the words complete "is in …". */
export function quotesAround(text: string): string | undefined {
  const [first = ""] = text;
  const last = closing.get(first) ?? first;
  return text.length > 1 && text.endsWith(last) ? quotes.get(first) : undefined;
}

/**
 * Says what is around a token that is no part of it, or nothing. The words complete "the token …", and
 * hold nothing of it.
 */
export function tokenFault(text: string): string | undefined {
  const around = quotesAround(text);
  if (around !== undefined) return `is in ${around}; leave them out`;
  if (quotes.has(text[0] ?? "")) return "begins with a quote; leave quotes out";
  if (text.length > 1 && quotes.has(text.at(-1)!)) return "ends with a quote; leave quotes out";
  if (/\s#/.test(text)) return 'holds " #": a comment cannot stand behind it';
  const [scheme] = /^(?:authorization:|bearer(?=[ \t:])|(?:basic|token)(?=[ \t]))/i.exec(text) ??
    [];
  if (scheme !== undefined) return `begins with ${JSON.stringify(scheme)}; give the token alone`;
  return text.includes("\r") && !text.includes("\n")
    ? "holds a carriage return (CR); leave it out"
    : undefined;
}
