/** People's sessions as a relay keeps them in a shared store. */
import type { Log } from "../../lib/log.ts";
import { BoundedStore } from "../../lib/relay/directory/bounded_store.ts";
import { SessionKeys } from "../../lib/relay/signin/seals.ts";
import type { SessionRecord } from "../../lib/relay/signin/sessions/sessions.ts";
import { SharedSessions } from "../../lib/relay/signin/sessions/shared_sessions.ts";
import { redisStore } from "../../lib/runtime/node/redis_store.ts";
import { eventually } from "../support/deadline.ts";

const clock = { nowMs: () => Date.now(), monotonicMs: () => performance.now() };
const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** As a relay puts them together. */
export class SessionsOfRelay implements AsyncDisposable {
  readonly sessions: SharedSessions;
  readonly #store: BoundedStore;

  private constructor(sessions: SharedSessions, store: BoundedStore) {
    this.sessions = sessions;
    this.#store = store;
  }

  static async start(url: string): Promise<SessionsOfRelay> {
    const store = new BoundedStore(redisStore(url));
    const sessions = new SharedSessions({
      ...{ store, clock, log: silent, idleMs: 600_000, changed() {} },
      keys: await SessionKeys.from([new Uint8Array(32).fill(3)], clock),
      relay: crypto.randomUUID(),
    });
    store.onReady = () => sessions.reconnected();
    store.open();
    sessions.open();
    const relay = new SessionsOfRelay(sessions, store);
    await relay.untilThere();
    return relay;
  }

  async untilThere(): Promise<void> {
    await eventually(
      async () => await this.#store.send(["PING"]).catch(() => "") === "PONG",
      "the store to answer",
      60_000,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sessions.close();
    this.#store.close();
  }
}

/** A session of a person with the same name. */
export function sessionRecord(id: string): SessionRecord {
  return {
    ...{ id, provider: "corp", issuer: "https://idp.example.net", subject: id, username: id },
    ...{ claims: {}, refreshToken: undefined, providerSession: undefined },
    ...{ issuedMs: Date.now(), signedInMs: Date.now() },
    ...{ expiresMs: Date.now() + 3_600_000, freshUntilMs: Date.now() + 3_600_000 },
  };
}
