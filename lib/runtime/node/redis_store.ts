/** A Redis that relays share, through the official client. */
import { parseStoreAddress, type StoreAddress } from "../../config/store_address.ts";
import type { Store } from "../../relay/directory/store.ts";
import { reasonOf } from "./redis/client_options.ts";
import { ClusterLink } from "./redis/cluster_link.ts";
import type { LinkEvents, RedisLink } from "./redis/link.ts";
import { SentinelLink } from "./redis/sentinel_link.ts";
import { SingleLink } from "./redis/single_link.ts";

/**
 * Connects to a Redis and keeps connecting.
 *
 * @param url A value of `--directory`.
 */
export function redisStore(url: string): Store {
  const address = parseStoreAddress(url);
  if (typeof address === "string") throw new Error(`The URL of a Redis ${address}`);
  return new RedisStore(address);
}

class RedisStore implements Store {
  readonly #address: StoreAddress;
  #link: RedisLink;
  onReady = (): void => {};
  onError = (_reason: string): void => {};

  constructor(address: StoreAddress) {
    this.#address = address;
    this.#link = this.#create();
  }

  send(command: readonly string[]): Promise<unknown> {
    return this.#link.send(command);
  }

  open(): void {
    this.#link.connect();
  }

  reconnect(): void {
    this.close();
    this.#link = this.#create();
    this.open();
  }

  close(): void {
    this.#link.destroy();
  }

  #create(): RedisLink {
    const link: RedisLink = linkOf(this.#address, {
      ready: () => {
        if (link === this.#link) this.onReady();
      },
      failed: (error) => {
        if (link === this.#link) this.onError(reasonOf(error));
      },
    });
    return link;
  }
}

function linkOf(address: StoreAddress, events: LinkEvents): RedisLink {
  switch (address.kind) {
    case "single":
      return new SingleLink(address, events);
    case "sentinel":
      return new SentinelLink(address, events);
    case "cluster":
      return new ClusterLink(address, events);
  }
}
