/** Relays that find each other in the store that they share. */
import type { Store } from "../relay/directory/store.ts";
import type { Peer, PeerList } from "./peer_statuses.ts";

const urlsKey = "culvert:{admin}:relays";
const seenKey = "culvert:{admin}:relays-seen";

/** The time between two signs of life, in milliseconds. */
const heartbeatMs = 5_000;
/** How many seconds after its last sign of life a relay is still asked. */
const aliveSeconds = 20;
/** How long the store may take to answer, in milliseconds. */
const replyMs = 2_000;

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

/** A {@link PeerList} in a store. */
export class StorePeers implements PeerList {
  readonly #store: Store;
  /** This relay's. */
  readonly #id: string;
  #url = "";
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(store: Store, id: string) {
    this.#store = store;
    this.#id = id;
  }

  open(url: string): void {
    this.#url = url;
    const beat = (): void => void this.list().catch(() => {}); // The next one comes soon.
    this.#timer = setInterval(beat, heartbeatMs);
    beat();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async list(): Promise<readonly Peer[]> {
    const about = [String(aliveSeconds), this.#id, this.#url];
    const reply = await soon(this.#store.send(["EVAL", script, "2", urlsKey, seenKey, ...about]));
    const list = Array.isArray(reply) ? reply.map(String) : [];
    return Array.from({ length: list.length / 2 }, (_, index) => ({
      id: list[2 * index]!,
      url: list[2 * index + 1]!,
    }));
  }
}

/** @throws when a reply takes too long */
async function soon<Reply>(reply: Promise<Reply>): Promise<Reply> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`No reply within ${replyMs} ms`)),
    replyMs,
  );
  try {
    return await Promise.race([reply, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
