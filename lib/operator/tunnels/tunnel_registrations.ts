/** The entries of tunnels at their relays' admin APIs, and what the relays last said of them. */
import { no, type Verdict, yes } from "../conditions.ts";
import type { Context } from "../context.ts";
import {
  connectionKey,
  type PutOutcome,
  RelayRefusal,
  RelayUnreachable,
} from "../relay/relay_api.ts";
import type { RelayChange } from "../relay/relay_watches.ts";
import type { Tunnel } from "../tunnel.ts";

/** An entry without a renewal goes after so long, if no agent is connected. */
const leaseSeconds = 7 * 24 * 3_600;
/** A refusal is not asked for again within this time, unless token or entry change. */
const refusalMs = 5 * 60_000;
/** A change at the relay that is told so soon after a PUT is that PUT's. */
const ownChangeMs = 5_000;

/** What was last said to the relay for a tunnel, and what it answered. */
interface Registration {
  /** Of entry, endpoint and token. */
  readonly digest: string;
  readonly verdict: Verdict;
  /** {@link connectionKey} and id. */
  readonly entryKey: string;
  readonly saidMs: number;
  readonly untilMs: number;
}

/** Registers tunnels, and takes them off their relays. */
export class TunnelRegistrations {
  readonly #context: Context;
  readonly #registrations = new Map<string, Registration>();
  /** Tunnels whose entry somebody has deleted at the relay. */
  readonly #lost = new Set<string>();

  constructor(context: Context) {
    this.#context = context;
  }

  /** What the relay last said of a tunnel's registration; undefined before it was asked. */
  verdict(tunnelKey: string): Verdict | undefined {
    return this.#registrations.get(tunnelKey)?.verdict;
  }

  /** When the relay is to be asked again, on the clock of `performance`. */
  untilMs(tunnelKey: string): number | undefined {
    return this.#registrations.get(tunnelKey)?.untilMs;
  }

  /** Whether somebody has deleted the entry, which has not been put again yet. */
  isLost(tunnelKey: string): boolean {
    return this.#lost.has(tunnelKey);
  }

  /**
   * An entry at a relay has changed, or its agents have. What somebody else has changed is put again
   * with the next look.
   *
   * @returns the keys of the tunnels that are about it
   */
  changed({ connection, kind, type, name }: RelayChange): readonly string[] {
    const own = [...this.#registrations].filter(([, { entryKey }]) =>
      entryKey === `${connection} ${name}`
    );
    if (kind !== "clusters") return own.map(([key]) => key);
    for (const [key, known] of own) {
      const isGone = type === "DELETED";
      const isOwn = known.verdict.status === "True" &&
        performance.now() - known.saidMs < ownChangeMs;
      if (isOwn && !isGone) continue;
      if (isGone) this.#lost.add(key);
      this.#registrations.set(key, { ...known, digest: "" });
    }
    return own.map(([key]) => key);
  }

  /** The tunnel is gone from the cluster. */
  forget(tunnelKey: string): void {
    this.#lost.delete(tunnelKey);
    this.#registrations.delete(tunnelKey);
  }

  /** Puts the entry of a tunnel, unless the relay has answered the same lately. */
  async put(
    tunnel: Tunnel,
    id: string,
    entry: Readonly<Record<string, unknown>>,
  ): Promise<Verdict> {
    const { accesses, relays, digest, settings } = this.#context;
    const found = await accesses.find(tunnel);
    if ("fault" in found) return no(found.fault.reason, found.fault.message);
    const { access, owner } = found;
    const body = { ...entry, owner, leaseSeconds };
    const said = digest(JSON.stringify([access, id, body]));
    const last = this.#registrations.get(tunnel.key);
    if (last?.digest === said && performance.now() < last.untilMs) return last.verdict;
    const remember = (verdict: Verdict, forMs: number): Verdict => {
      const untilMs = performance.now() + forMs;
      const saidMs = performance.now();
      const entryKey = `${connectionKey(access)} ${id}`;
      this.#registrations.set(tunnel.key, { digest: said, verdict, entryKey, saidMs, untilMs });
      this.#lost.delete(tunnel.key);
      return verdict;
    };
    try {
      const outcome = await relays.put(access, "clusters", id, body);
      return remember(
        outcomeVerdict(outcome, id),
        outcome === "pending" ? 10_000 : settings.resyncMs,
      );
    } catch (error) {
      if (error instanceof RelayRefusal) return remember(refusalVerdict(error), refusalMs);
      if (!(error instanceof RelayUnreachable)) throw error;
      return remember(
        no("RelayUnreachable", `At ${access.endpoint}: ${error.message}`),
        error.retryAfterMs,
      );
    }
  }

  /** Takes the entry off the relay. @returns why it could not; undefined when it is done */
  async delete(tunnel: Tunnel, id: string): Promise<string | undefined> {
    const { accesses, relays } = this.#context;
    try {
      const found = await accesses.find(tunnel);
      if ("fault" in found) return found.fault.message;
      await relays.delete(found.access, "clusters", id, found.owner);
      return undefined;
    } catch (error) {
      if (!(error instanceof RelayRefusal) && !(error instanceof RelayUnreachable)) throw error;
      return error.message;
    }
  }
}

function outcomeVerdict(outcome: PutOutcome, id: string): Verdict {
  return outcome === "accepted"
    ? yes("Registered")
    : no("PendingAcceptance", `Somebody must accept ${id} at the relay`);
}

/** The relay's reasons as conditions have them. */
function refusalVerdict({ status, code, message }: RelayRefusal): Verdict {
  if (status === 409) return no("Conflict", message);
  if (status === 429) return no("QuotaExceeded", message);
  if (status === 401) return no("Unauthorized", `The relay does not know the token: ${message}`);
  if (status === 403) return no("Forbidden", message);
  return no("Refused", code === "" ? message : `${code}: ${message}`);
}
