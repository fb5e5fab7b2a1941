/** An agent's session, from its handshake until it ends. */
import { countFault, errorFields } from "../../faults.ts";
import type { Cluster } from "../../domain/cluster.ts";
import type { ClaimedHostname } from "../../protocol/announcement.ts";
import { CloseCode } from "../../protocol/errors.ts";
import { Session } from "../../protocol/session.ts";
import type { SessionEnd } from "../../protocol/session_end.ts";
import type { TunnelSocket } from "../../protocol/socket.ts";
import type { Admission } from "../agents/admissions.ts";
import type { Registration } from "../agents/registry.ts";
import type { Claim } from "../directory/directory.ts";
import { steadyEpochMs } from "../directory/shared_clock.ts";
import type { Relay } from "../relay.ts";
import { judgeClaims } from "../services/claims.ts";

/** How long an agent may take to send its Settings, and registering its session may take, in milliseconds. */
export const handshakeTimeoutMs = 10_000;

/** Ends that are somebody's fault, for the log; the last is the WebSocket's own "too large". */
const brokenCodes: ReadonlySet<number> = new Set([
  CloseCode.ProtocolError,
  CloseCode.InternalError,
  CloseCode.Excessive,
  1009,
]);

/** An agent that was let in, and its socket. */
export interface AcceptedAgent {
  readonly admission: Admission;
  readonly socket: TunnelSocket;
  readonly offersVersion2: boolean;
  /** Its address, for the log. */
  readonly peer: string;
}

/** What an entry says about hostnames, for both logs. */
function claimRule({ id, claims }: Cluster): string {
  const names = claims?.hostnames.map(({ name }) => name).join(", ");
  return names === undefined
    ? `the entry of cluster ${id} lists no hostnames`
    : `"hostnames" in the entry of cluster ${id} lists ${names}`;
}

/** Registers a session once its version is settled, and takes everything back when it ends. */
export class AgentSession {
  readonly #relay: Relay;
  readonly #admission: Admission;
  readonly #session: Session;
  /** What every log line says. */
  readonly #about: { readonly cluster: string; readonly peer: string };
  readonly #timer: ReturnType<typeof setTimeout>;
  #registration: Registration | undefined;
  #claim: Claim | undefined;

  constructor(relay: Relay, { admission, socket, offersVersion2, peer }: AcceptedAgent) {
    this.#relay = relay;
    this.#admission = admission;
    this.#about = { cluster: admission.cluster.id, peer };
    const session = this.#session = new Session(socket, {
      role: "relay",
      settings: relay.settings,
      offersVersion2,
      defer: relay.defer,
      ...relay.keepalive,
      events: {
        announced: () => this.#announced(),
        draining: () => this.#draining(),
        fault: (error) => {
          countFault("session");
          relay.log.error("Session failed", { ...this.#about, ...errorFields(error) });
        },
        streamFault: (error, stream) => {
          countFault("stream");
          relay.log.error("Stream failed", { ...this.#about, stream, ...errorFields(error) });
        },
      },
    });
    this.#timer = setTimeout(() => {
      session.close(CloseCode.ProtocolError, "No Settings in time");
    }, handshakeTimeoutMs);
    admission.whenRevoked((reason) => session.close(CloseCode.NotPermitted, reason));
    admission.whenToRenew(() => this.#renew());
    session.ready.then(() => this.#ready(), () => {}); // `closed` tells of a session that ended before.
    session.closed.then((end) => this.#closed(end));
  }

  #ready(): void {
    const relay = this.#relay;
    const session = this.#session;
    const admission = this.#admission;
    clearTimeout(this.#timer);
    const { instance, slot = 0, software } = session.peer ?? {};
    const { tokenName } = admission;
    const sinceMs = Math.round(steadyEpochMs());
    this.#registration = {
      session,
      number: relay.nextNumber(),
      address: this.#about.peer,
      instance,
      slot,
      sinceMs,
      tokenName,
      withdraw: () => this.#left(),
      reviewed: () => this.#reviewed(),
      get cluster() {
        return admission.cluster;
      },
    };
    relay.registry.add(this.#registration);
    if (relay.isStopping) session.announceDrain();
    this.#claim = { cluster: this.#about.cluster, instance, slot, sinceMs };
    relay.peers?.arrived(this.#claim);
    relay.log.info("Agent connected", {
      ...this.#about,
      token_name: tokenName,
      version: session.version,
      instance,
      software,
      targets: session.announced?.targets.length,
    });
    this.#announced();
  }

  /** The agent has said what it serves. It may do so before its session is registered. */
  #announced(): void {
    const { announced } = this.#session;
    if (!this.#registration || !announced) return;
    this.#relay.log.debug("Agent announced its targets", {
      ...this.#about,
      targets: announced.targets.length,
      hostnames: announced.hostnames.length,
      hash: announced.hash,
    });
    this.#registration.targets = new Map(announced.targets.map((target) => [target.name, target]));
    this.#claimHostnames(this.#registration, announced.hostnames);
    this.#relay.registry.announced(this.#registration);
  }

  /** The agent gets the hostnames that its cluster's entry lists, as the configuration is now. */
  #claimHostnames(registration: Registration, claimed: readonly ClaimedHostname[]): void {
    const { cluster } = this.#admission;
    const { claims, refused } = judgeClaims(claimed, cluster.claims);
    registration.claims = claims;
    for (const hostname of refused) {
      const rule = claimRule(cluster);
      this.#relay.log.warn("Refused a hostname that an agent claims", {
        ...this.#about,
        hostname,
        rule,
      });
      this.#session.notify({
        code: "hostname_refused",
        message: `${hostname}: the relay refuses it: ${rule}`,
      });
    }
  }

  /** Its cluster's entry may be another one. */
  #reviewed(): void {
    const { announced } = this.#session;
    if (this.#registration && announced) {
      this.#claimHostnames(this.#registration, announced.hostnames);
    }
  }

  /** The agent's certificate ends soon. It may have a newer one, and shows that when it dials anew. */
  #renew(): void {
    // A version 1 agent can't be asked.
    if (this.#session.version === 1) return;
    this.#relay.log.info("Agent's certificate expires soon; asked it to reconnect", this.#about);
    this.#session.announceDrain();
  }

  #draining(): void {
    this.#relay.log.info("Agent is draining", this.#about);
    this.#left();
  }

  #closed(end: SessionEnd): void {
    const { code, reason } = end;
    const { admissions, disconnects, log, metrics, registry } = this.#relay;
    clearTimeout(this.#timer);
    admissions.leave(this.#admission);
    if (this.#registration) registry.remove(this.#registration);
    this.#left();
    metrics.sessionEnded(end, this.#session.stats);
    if (this.#registration) disconnects.add(this.#registration, end);
    log[brokenCodes.has(code) ? "warn" : "info"]("Agent disconnected", {
      ...this.#about,
      code,
      reason,
    });
  }

  #left(): void {
    if (this.#claim) this.#relay.peers?.left(this.#claim);
  }
}
