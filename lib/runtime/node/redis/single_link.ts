/** A Redis at one address. */
import { ClientClosedError, createClient } from "redis";
import type { SingleStore } from "../../../config/store_address.ts";
import { commonOptions, commonSocket, tlsOptions } from "./client_options.ts";
import { type LinkEvents, type RedisLink, retryMs } from "./link.ts";

/** Connects to one address, and again when the connection is lost. */
export class SingleLink implements RedisLink {
  readonly #events: LinkEvents;
  readonly #client: ReturnType<typeof clientOf>;

  constructor({ url }: SingleStore, events: LinkEvents) {
    this.#events = events;
    this.#client = clientOf(url)
      .on("ready", () => events.ready())
      .on("error", (error) => events.failed(error));
  }

  connect(): void {
    // It rejects when it is closed while it connects; all else comes as an error event.
    this.#client.connect().catch((error) => this.#events.failed(error));
  }

  send(command: readonly string[]): Promise<unknown> {
    return this.#client.sendCommand([...command]);
  }

  destroy(): void {
    // It throws when there is no connection to be closed, as while it waits to make one.
    try {
      this.#client.destroy();
    } catch (error) {
      if (!(error instanceof ClientClosedError)) throw error;
    }
  }
}

function clientOf(url: string) {
  const { protocol, hostname } = new URL(url);
  const tls = protocol === "rediss:" && { tls: true, ...tlsOptions(bare(hostname)) } as const;
  return createClient({
    url,
    ...commonOptions,
    socket: { ...tls, ...commonSocket, reconnectStrategy: retryMs },
  });
}

/** An IPv6 address without the brackets that it has in a URL. */
function bare(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}
