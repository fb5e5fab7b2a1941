/** A Redis that relays share, through the official client. */
import { ClientClosedError, createClient } from "redis";
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
  return new RedisStore(url);
}

class RedisStore implements Store {
  readonly #url: string;
  #client: Client;
  onReady = (): void => {};
  onError = (_reason: string): void => {};

  constructor(url: string) {
    this.#url = url;
    this.#client = this.#create();
  }

  send(command: readonly string[]): Promise<unknown> {
    return this.#client.sendCommand([...command]);
  }

  open(): void {
    const client = this.#client;
    // It rejects when it is closed while it connects; all else comes as an error event.
    client.connect().catch((error) => this.#failed(client, error));
  }

  renew(): void {
    this.close();
    this.#client = this.#create();
    this.open();
  }

  close(): void {
    // It throws when there is no connection to be closed, as while it waits to make one.
    try {
      this.#client.destroy();
    } catch (error) {
      if (!(error instanceof ClientClosedError)) throw error;
    }
  }

  #create(): Client {
    const client = clientOf(this.#url);
    client.on("ready", () => {
      if (client === this.#client) this.onReady();
    });
    client.on("error", (error) => this.#failed(client, error));
    return client;
  }

  #failed(client: Client, error: unknown): void {
    if (client === this.#client) this.onError(reasonOf(error));
  }
}

type Client = ReturnType<typeof clientOf>;

function clientOf(url: string) {
  return createClient({
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
}

/** Why it failed; an error of several addresses at once has its text inside. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return reasonOf(error.errors[0]);
  return error instanceof Error ? error.message : String(error);
}
