/** The status of other relays, which find each other in the Redis that they share. */
import type { RelayStatus, Status } from "../domain/status.ts";
import type { Store } from "../relay/directory/store.ts";
import { hopNames } from "../relay/forward/hop_names.ts";
import type { RelayTokens } from "../relay/hop/relay_tokens.ts";
import { peerStatusPath } from "../relay/routes/peer_status.ts";
import type { EndableKind, OtherRelays } from "../relay/status/other_relays.ts";

const urlsKey = "culvert:{admin}:relays";
const seenKey = "culvert:{admin}:relays-seen";

/** Between two signs of life, in milliseconds. */
const heartbeatMs = 5_000;
/** After so many seconds without one, a relay is not asked any more. */
const aliveSeconds = 20;
/** For a relay to answer, in milliseconds. */
const answerMs = 2_000;

/** ARGV: how long relays count, this relay's id and its URL; without a URL nothing is written. */
const script = `
local now = tonumber(redis.call('TIME')[1])
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
  redis.call('ZADD', KEYS[2], now, ARGV[2])
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[1]))) do
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end
return redis.call('HGETALL', KEYS[1])`;

/** What is lent for it. */
export interface PeerStatusesContext {
  /** This relay's. */
  readonly id: string;
  readonly store: Store;
  readonly tokens: RelayTokens;
  /** `fetch` that trusts the other relays' certificates. */
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
}

interface Peer {
  readonly id: string;
  readonly url: string;
}

/** Asks all other relays. */
export class PeerStatuses implements OtherRelays {
  readonly #context: PeerStatusesContext;
  #url = "";
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(context: PeerStatusesContext) {
    this.#context = context;
  }

  /** Makes this relay known. @param url origin of its internal listener */
  open(url: string): void {
    this.#url = url;
    const beat = (): void => void this.#relays().catch(() => {}); // The next one comes soon.
    this.#timer = setInterval(beat, heartbeatMs);
    beat();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async read(): Promise<readonly (Status | RelayStatus)[]> {
    let peers: readonly Peer[];
    try {
      peers = await this.#peers();
    } catch {
      // The directory is away, which the picture of this relay says.
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
    return (await this.#relays()).filter(({ id, url }) =>
      id !== this.#context.id && (!isTls || url.startsWith("https:"))
    );
  }

  async #relays(): Promise<Peer[]> {
    const { store, id } = this.#context;
    const command = ["EVAL", script, "2", urlsKey, seenKey, String(aliveSeconds), id, this.#url];
    const reply = await soon(store.send(command));
    const list = Array.isArray(reply) ? reply.map(String) : [];
    return Array.from({ length: list.length / 2 }, (_, index) => ({
      id: list[2 * index]!,
      url: list[2 * index + 1]!,
    }));
  }
}

function silentRelay({ id }: Peer, error: unknown): RelayStatus {
  const reason = error instanceof Error ? error.message : String(error);
  return {
    ...{ id, version: "", startedMs: 0, isStopping: false, agents: 0, openStreams: 0 },
    fault: `does not answer: ${reason}`,
  };
}

/** @throws when a reply takes too long */
async function soon<Reply>(reply: Promise<Reply>): Promise<Reply> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`No reply within ${answerMs} ms`)),
    answerMs,
  );
  try {
    return await Promise.race([reply, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
