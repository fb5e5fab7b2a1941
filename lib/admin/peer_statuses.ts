/** The status of other relays. */
import type { RelayStatus, Status } from "../domain/status.ts";
import { messageOf } from "../message_of.ts";
import { hopNames } from "../relay/forward/hop_names.ts";
import type { RelayTokens } from "../relay/hop/relay_tokens.ts";
import { peerStatusPath } from "../relay/routes/peer_status.ts";
import type { EndableKind, OtherRelays } from "../relay/status/other_relays.ts";

/** How long a relay may take to answer, in milliseconds. */
const answerMs = 2_000;

/** A relay that can be asked. */
export interface Peer {
  readonly id: string;
  /** Origin of its internal listener. */
  readonly url: string;
}

/** How relays find each other. */
export interface PeerList {
  /** Makes this relay known, until {@link close}. @param url origin of its internal listener */
  open(url: string): void;
  /** All relays, this one too. @throws while it can't be had */
  list(): Promise<readonly Peer[]>;
  close(): void;
}

/** What is lent for it. */
export interface PeerStatusesContext {
  /** This relay's. */
  readonly id: string;
  readonly list: PeerList;
  readonly tokens: RelayTokens;
  /** `fetch` that trusts the other relays' certificates. */
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
}

/** Asks all other relays. */
export class PeerStatuses implements OtherRelays {
  readonly #context: PeerStatusesContext;
  #url = "";

  constructor(context: PeerStatusesContext) {
    this.#context = context;
  }

  /** Makes this relay known. @param url origin of its internal listener */
  open(url: string): void {
    this.#url = url;
    this.#context.list.open(url);
  }

  close(): void {
    this.#context.list.close();
  }

  async read(): Promise<readonly (Status | RelayStatus)[]> {
    let peers: readonly Peer[];
    try {
      peers = await this.#peers();
    } catch {
      // The directory is unavailable, which the picture of this relay says.
      return [];
    }
    return await Promise.all(peers.map(async (peer) => {
      try {
        return await this.#ask("GET", peer, "") as Status;
      } catch (error) {
        return silentRelay(peer, error);
      }
    }));
  }

  async end(kind: EndableKind, id: string, by: string): Promise<boolean> {
    const query = `?${new URLSearchParams({ kind, id, by })}`;
    const peers = await this.#peers().catch(() => []);
    const ended = await Promise.all(peers.map(async (peer) => {
      try {
        return (await this.#ask("POST", peer, query) as { hasEnded: boolean }).hasEnded;
      } catch {
        return false;
      }
    }));
    return ended.includes(true);
  }

  async #ask(method: string, { url }: Peer, query: string): Promise<unknown> {
    const response = await this.#context.fetch(`${url}${peerStatusPath}${query}`, {
      method,
      headers: { [hopNames.token]: this.#context.tokens.sent },
      redirect: "error",
      signal: AbortSignal.timeout(answerMs),
    });
    if (response.ok) return await response.json();
    await response.body?.cancel();
    throw new Error(`it answered ${response.status}`);
  }

  async #peers(): Promise<readonly Peer[]> {
    const isTls = this.#url.startsWith("https:");
    // Who can write to Redis must not get the relays' token in the clear.
    return (await this.#context.list.list()).filter(({ id, url }) =>
      id !== this.#context.id && (!isTls || url.startsWith("https:"))
    );
  }
}

function silentRelay({ id }: Peer, error: unknown): RelayStatus {
  const reason = messageOf(error);
  return {
    ...{ id, version: "", startedMs: 0, isStopping: false, agents: 0, openStreams: 0 },
    fault: `does not answer: ${reason}`,
  };
}
