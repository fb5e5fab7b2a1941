/** A Redis that relays share, through the official client. */
import { createClient } from "redis";
import type { Store } from "../../relay/directory/store.ts";

/** How long a connection may take, TLS included, in milliseconds. */
const connectTimeoutMs = 2_000;
/** The longest wait between two attempts to connect. */
const maxRetryMs = 2_000;
/** Commands that wait for their replies; more are refused at once. */
const maxCommands = 20_000;

/**
 * Connects to a Redis and keeps connecting.
 *
 * @param url `redis://` or `rediss://`, with user, password and number of the database if need be.
 */
export function redisStore(url: string): Store {
  const client = createClient({
    url,
    name: "culvert-relay",
    // A command that can't be sent now is refused now: whoever waits for it has a caller waiting.
    disableOfflineQueue: true,
    commandsQueueMaxLength: maxCommands,
    socket: {
      connectTimeout: connectTimeoutMs,
      keepAlive: true,
      keepAliveInitialDelay: 10_000,
      reconnectStrategy: (attempts) =>
        Math.min(100 * 2 ** Math.min(attempts, 10), maxRetryMs) * (0.5 + Math.random() / 2),
    },
  });
  const store: Store = {
    onReady: () => {},
    onError: () => {},
    send: (command) => client.sendCommand(command as string[]),
    open: () => {
      // It rejects when it is closed while it connects; all else comes as an error event.
      client.connect().catch((error) => store.onError(reasonOf(error)));
    },
    close: () => client.destroy(),
  };
  client.on("ready", () => store.onReady());
  client.on("error", (error) => store.onError(reasonOf(error)));
  return store;
}

/** Why it failed; an error of several addresses at once has its text inside. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return reasonOf(error.errors[0]);
  return error instanceof Error ? error.message : String(error);
}
