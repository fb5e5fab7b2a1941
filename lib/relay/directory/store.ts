/** The store that relays share, as the directory sees it: Redis' commands and replies. */

/** A connection to a Redis, or to what speaks like one. */
export interface Store {
  /**
   * Sends a command. Commands that are sent in one turn of the event loop leave together.
   *
   * @throws for a connection that is not there, at once, and for an error reply.
   */
  send(command: readonly string[]): Promise<unknown>;
  /** Called whenever the connection has been made, the first time too. */
  onReady: () => void;
  /** Called when the connection broke or could not be made. */
  onError: (reason: string) => void;
  /** Begins to connect, and connects again until it is closed. */
  open(): void;
  /** Gives up a connection on which nothing comes back, and makes a new one. */
  reconnect(): void;
  close(): void;
}
