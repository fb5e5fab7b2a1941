/** A Redis that relays share, through the official client. */
import { ClientClosedError, createClient } from "redis";
import { advised, type TlsAdvice } from "../tls_advice.ts";
import { verifyingOptions } from "./verified_tls.ts";
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

  reconnect(): void {
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
  const { protocol, hostname } = new URL(url);
  // The client writes nothing before it has been told that the peer is trusted.
  const tls = protocol === "rediss:" &&
    { tls: true, ...verifyingOptions({ name: bare(hostname), advice: tlsAdvice }) } as const;
  return createClient({
    url,
    name: "culvert-relay",
    // A command that can't be sent now is refused now: whoever waits for it has a caller waiting.
    disableOfflineQueue: true,
    commandsQueueMaxLength: maxCommands,
    socket: {
      ...tls,
      connectTimeout: connectTimeoutMs,
      keepAlive: true,
      keepAliveInitialDelay: 10_000,
      reconnectStrategy: (attempts) =>
        Math.min(100 * 2 ** Math.min(attempts, 10), maxRetryMs) * (0.5 + Math.random() / 2),
    },
  });
}

/** An IPv6 address without the brackets that it has in a URL. */
function bare(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}

const tlsAdvice: TlsAdvice = {
  notTls: "a Redis without TLS is redis://",
  unknownCa: "it must come from a public CA, or from one in the file that DENO_CERT names",
  otherName: "--directory must have a name of its certificate",
  dates: "renew it, or set the clock",
};

/** Why it failed; an error of several addresses at once has its text inside. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return reasonOf(error.errors[0]);
  return error instanceof Error ? advised(error.message, tlsAdvice) : String(error);
}
