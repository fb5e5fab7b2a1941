/** How `access` shows its token. */

/**
 * The token as a header field; none without one. `Authorization` may be meant for the app behind a
 * service, so culvert's own bearer has a field to itself.
 */
export function credentialHeaders(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { "Culvert-Authorization": `Bearer ${token}` };
}
