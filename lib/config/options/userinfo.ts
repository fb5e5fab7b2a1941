/** User names and passwords in URLs, as people type them. */

/**
 * Says which character before the `@` of a URL must be percent-encoded (RFC 3986 section 3.2.1), or
 * nothing. The words complete "must …".
 *
 * @param special What else ends this URL's authority: a backslash, in `http:` and the like.
 */
export function unencodedUserinfo(text: string, special = ""): string | undefined {
  const start = text.indexOf("://") + "://".length;
  const end = text.lastIndexOf("@");
  const userinfo = text.slice(start, Math.max(start, end));
  const [found] = [...userinfo].flatMap((character, index) => {
    const isPercent = character === "%" && !/^%[\da-f]{2}/i.test(userinfo.slice(index));
    return isPercent || `/?#${special}`.includes(character) ? [character] : [];
  });
  if (found === undefined) return undefined;
  const encoded = `%${found.charCodeAt(0).toString(16).toUpperCase()}`;
  return `not have "${found}" before its "@": in a user name or password, write ${encoded} for it`;
}
