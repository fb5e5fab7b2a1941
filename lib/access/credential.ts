/** How `access` shows its token. */

/**
 * The token as a header field; none without one. On the hostname of a service `Authorization` may be
 * meant for the app behind it, so culvert's own bearer has a field to itself there.
 */
export function credentialHeaders(
  token: string | undefined,
  isInternal: boolean,
): Record<string, string> {
  if (token === undefined) return {};
  return { [isInternal ? "Authorization" : "Culvert-Authorization"]: `Bearer ${token}` };
}
