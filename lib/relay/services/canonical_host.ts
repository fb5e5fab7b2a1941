/** The one spelling of a host by which services are found. */

const LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const namePattern = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`);
const maxChars = 253;

/**
 * A `Host` in lower case, without its port and the dot of the root.
 *
 * @returns undefined for what is no name: an address in brackets, an empty label, percent-encoding. An
 * IPv4 address is a name here that no service has
 */
export function canonicalHost(host: string): string | undefined {
  const name = host.toLowerCase().replace(/:\d{0,5}$/, "").replace(/\.$/, "");
  return name.length <= maxChars && namePattern.test(name) ? name : undefined;
}

/** The wildcard that covers a name: one label, `*.example.com` for `a.example.com`. */
export function wildcardOf(name: string): string {
  const dot = name.indexOf(".");
  return dot === -1 ? "*" : `*${name.slice(dot)}`;
}
