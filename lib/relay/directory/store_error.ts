/** What a store's error replies say about the server that sent them. */

/**
 * Codes with which a Redis says that it is not, or not now, the one to write to. A new connection may
 * lead to another server, or log in again; this one may stay as it is for ever.
 */
const wrongServerCodes: ReadonlySet<string> = new Set([
  /** It has become a replica. */
  "READONLY",
  /** It has just started, and reads its data. */
  "LOADING",
  /** A replica that has lost its primary. */
  "MASTERDOWN",
  /** The user's password was set after this connection had been made. */
  "NOAUTH",
  /** The cluster is incomplete, or this node is cut off from it. */
  "CLUSTERDOWN",
  /** It has moved to another node, or is about to. */
  "MOVED",
  "ASK",
  "TRYAGAIN",
  /** A primary that is cut off from its replicas. */
  "NOREPLICAS",
  /** It can't write to its disk, so that nothing new is taken. */
  "MISCONF",
  /** A replica that was told to become one without a connection to its primary. */
  "NOMASTERLINK",
  /** A failover is under way. */
  "UNBLOCKED",
]);

/** Whether a new connection should be made because of an error reply. */
export function isWrongServer(reason: string): boolean {
  return wrongServerCodes.has(codeOf(reason));
}

function codeOf(reason: string): string {
  // Before Redis 7, what a command in a script replied stands at the end of another error.
  const [, inScript] = /@user_script: ?\d+: -([A-Z]+) /.exec(reason) ?? [];
  return inScript ?? reason.replace(/^-/, "").split(/[\s:]/, 1)[0]!;
}
