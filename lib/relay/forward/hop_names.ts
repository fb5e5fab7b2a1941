/** Names of the header fields between two relays. */

/**
 * - `hop`: in a request, the relay that forwards it; in an answer, what became of it.
 * - `token`: what the relays know and nobody else.
 * - `route`, `path`: where a request for a service goes; one for a cluster says it by its target.
 * - `address`, `proto`, `kind`, `name`: the caller of the first relay.
 * - `identity`: what agent and target are told about that one.
 */
export const hopNames = {
  hop: "Culvert-Hop",
  token: "Culvert-Relay-Token",
  address: "Culvert-Caller-Address",
  proto: "Culvert-Caller-Proto",
  kind: "Culvert-Caller-Kind",
  name: "Culvert-Caller-Name",
  identity: "Culvert-Caller-Identity",
  route: "Culvert-Route",
  path: "Culvert-Path",
} as const;

/** The same in lower case. */
export const hopKeys: ReadonlySet<string> = new Set(
  Object.values(hopNames).map((name) => name.toLowerCase()),
);
