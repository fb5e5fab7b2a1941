/** Lists of paths that decide who may use them: exact ones, and beginnings that end in `/`. Pure. */

/**
 * Whether a list has a path.
 *
 * @param path As it was sent, without its query; see {@link isAmbiguousPath}.
 */
export function listsPath(listed: readonly string[], path: string): boolean {
  return listed.some((entry) => entry.endsWith("/") ? path.startsWith(entry) : path === entry);
}

/** Nothing that any server reads in two ways; the rest is looked at closely. */
const plainPath = /^(?:\/[\w~!$&'()*+,=:@-][\w.~!$&'()*+,=:@-]*)*\/?$/;
/** A backslash, a parameter, a fragment, an empty segment, and one of dots and blanks alone. */
const unclear = /[\\;#]|\/\/|\/[.\s]+(?:\/|$)/;
/** Encoded, they are separators to some servers, or decoded twice. */
const encodedSeparators = /%(?:2[EeFf]|5[Cc])/;
/**
 * `¥`, `₩`, `⁄`, `∕` and `∖`: Windows turns them into separators where a program's code page lacks them
 * ("best fit"). Names may have them, and what leads elsewhere has a segment of dots beside them.
 */
const bestFitSeparators = /[\u00a5\u20a9\u2044\u2215\u2216]/g;
const dotSegment = /\/[.\s]+(?:\/|$)/;
/** What has no place in a decoded path: it would be decoded again, end the path or be dropped from it. */
const undecodable = /[%?\p{Cc}\p{Cf}]/u;

/**
 * Whether a target may take a path for another one: for one outside of a beginning that it has. culvert
 * forwards paths as they were sent, and servers differ in how they decode and resolve them.
 *
 * Percent-encoded text is clear, such as `/caf%C3%A9%20au%20lait`, unless it decodes to something that
 * is not, in compatibility forms (Unicode Standard Annex 15) too: some file systems fold `／` to `/`.
 *
 * @param path As it was sent, without its query.
 */
export function isAmbiguousPath(path: string): boolean {
  if (plainPath.test(path)) return false;
  if (/[^\x21-\x7e]/.test(path) || unclear.test(path) || encodedSeparators.test(path)) return true;
  const sent = decoded(path);
  if (sent === undefined) return true;
  const text = sent.normalize("NFKC");
  return undecodable.test(text) || unclear.test(text) || slashesIn(text) !== slashesIn(path) ||
    dotSegment.test(sent.replace(bestFitSeparators, "/").normalize("NFKC"));
}

/** Undefined for what is no percent-encoded UTF-8, such as `%c0%ae`. */
function decoded(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
}

function slashesIn(path: string): number {
  return path.split("/").length;
}
