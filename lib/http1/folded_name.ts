/** Header names as applications read them that take their environment for the request's head. */

/** The characters of a name in lower case that become `_` in a CGI variable's name. */
const replaced = /[^a-z0-9-]/;
const allReplaced = /[^a-z0-9-]/g;

/**
 * The name that an application may take a field for. CGI (RFC 3875 section 4.1.18), WSGI and PHP turn
 * `-` into `_`, and some servers turn every other punctuation into it too: `X_Forwarded_For` and
 * `X-Forwarded-For` are one variable there, so whoever drops one has to drop the other.
 *
 * @param key A field's name in lower case.
 */
export function foldedName(key: string): string {
  return replaced.test(key) ? key.replace(allReplaced, "-") : key;
}
