/** The connected agents of tunnels, injected ones included, as their relays list them. */
import { no, unknown, type Verdict, yes } from "../conditions.ts";
import type { Context } from "../context.ts";
import { type AgentSession, RelayRefusal, RelayUnreachable } from "../relay/relay_api.ts";
import type { Tunnel } from "../tunnel.ts";

/** With several relays, a watch reports the agents of one only, so they are listed from time to time. */
const askMs = 60_000;
/** How long a relay may take to list agents that are ready. */
const lagMs = 10_000;
/** The shortest time between two requests about one tunnel. */
const minAskMs = 1_000;

/** What a relay says of a tunnel's agents. */
export interface Connection {
  readonly verdict: Verdict;
  /** Undefined before the relay has said anything. */
  readonly agents: number | undefined;
  readonly againMs: number;
}

interface Known {
  /** Endpoint, id and ready pods: with others, the answer is an old one. */
  readonly print: string;
  /** The number of connected agents. Their sessions are not kept, as there may be thousands. */
  readonly agents: number;
  /** Since when there have been these pods. */
  readonly sinceMs: number;
  readonly askedMs: number;
}

/** Asks relays about agents. */
export class AgentSessions {
  readonly #context: Pick<Context, "accesses" | "relays" | "settings">;
  readonly #known = new Map<string, Known>();
  /** Tunnels whose agents have come or gone since the relay was asked. */
  readonly #stale = new Set<string>();

  constructor(context: Pick<Context, "accesses" | "relays" | "settings">) {
    this.#context = context;
  }

  /** Agents of the tunnel have come or gone. */
  changed(tunnelKey: string): void {
    this.#stale.add(tunnelKey);
  }

  forget(tunnelKey: string): void {
    this.#known.delete(tunnelKey);
    this.#stale.delete(tunnelKey);
  }

  /** Asks the relay unless it has answered lately. @param ready How many of the tunnel's pods are. */
  async look(tunnel: Tunnel, id: string, ready: number): Promise<Connection> {
    try {
      const known = await this.#ask(tunnel, id, ready);
      const { agents } = known;
      const isLate = this.#stale.has(tunnel.key) || isEarly(known, ready);
      const verdict = agents > 0
        ? yes("Connected")
        : isEarly(known, ready)
        ? unknown("Connecting", "The agents are ready, and the relay does not list them yet")
        : no("NotConnected", "The relay lists no agent of the tunnel");
      return { verdict, agents, againMs: isLate ? this.#minAskMs : askMs };
    } catch (error) {
      if (error instanceof RelayUnreachable) {
        const verdict = unknown("RelayUnreachable", "The relay can't be asked for its agents");
        return { verdict, agents: undefined, againMs: error.retryAfterMs };
      }
      if (!(error instanceof RelayRefusal)) throw error;
      return { verdict: unknown("Refused", error.message), agents: undefined, againMs: askMs };
    }
  }

  get #minAskMs(): number {
    return Math.min(minAskMs, this.#context.settings.checkMs);
  }

  async #ask(tunnel: Tunnel, id: string, ready: number): Promise<Known> {
    const { key, spec } = tunnel;
    const print = JSON.stringify([spec?.relay.registration.api?.endpoint, id, ready]);
    const last = this.#known.get(key);
    const known = last?.print === print ? last : undefined;
    const askedMs = performance.now();
    const isOld = this.#stale.has(key) || (known && isEarly(known, ready));
    if (known && askedMs - known.askedMs < (isOld ? this.#minAskMs : askMs)) return known;
    const found = await this.#context.accesses.find(tunnel);
    if ("fault" in found) throw new RelayUnreachable(found.fault.message, askMs);
    // A change during the request makes the answer stale again.
    this.#stale.delete(key);
    try {
      const agents = agentsIn(await this.#context.relays.sessions(found.access, id));
      const fresh = { print, agents, askedMs, sinceMs: known?.sinceMs ?? askedMs };
      this.#known.set(key, fresh);
      return fresh;
    } catch (error) {
      this.#stale.add(key);
      throw error;
    }
  }
}

/** Whether the relay may not have heard yet of agents that are ready. */
function isEarly({ agents, sinceMs }: Known, ready: number): boolean {
  return ready > 0 && agents === 0 && performance.now() - sinceMs < lagMs;
}

/** An agent that changes its token has two sessions for a while. */
function agentsIn(sessions: readonly AgentSession[]): number {
  return new Set(sessions.map(({ id, instance }) => instance ?? id)).size;
}
