/** A caller's request on its way through a session, or, where that is safe, a second one. */
import type { Bandwidth } from "../limits/bandwidth.ts";
import type { Deadlines } from "../limits/deadlines.ts";
import { requestedUpgrade } from "../../http1/fields.ts";
import { encodeRequestHead } from "../../http1/head.ts";
import { isRepeatable } from "../../http1/repeatable.ts";
import type { Exchange } from "../../net/exchange.ts";
import { StreamError } from "../../protocol/errors.ts";
import { endReason } from "../../protocol/session_end.ts";
import type { Stream } from "../../protocol/stream.ts";
import type { Caller } from "../callers/caller.ts";
import {
  answerError,
  clusterNotAvailable,
  fromStreamError,
  graceOver,
  impersonationNotAllowed,
  type RelayError,
  relayLost,
} from "../errors.ts";
import { forward, type ForwardHost } from "../forward/forward.ts";
import { forwardedFields, impersonates } from "../forward/headers.ts";
import { Observation, type TunnelRoute } from "./observation.ts";
import type { Registration } from "../agents/registry.ts";
import type { Relay } from "../relay.ts";
import { type RetryReason, retryReason } from "../forward/retry.ts";

/** One request and the sessions that it is tried through. */
export class TunnelRequest extends Observation implements ForwardHost {
  declare readonly caller: Caller;
  readonly upgrade: string | undefined;
  #stream: Stream | undefined;

  get bandwidths(): readonly Bandwidth[] {
    return this.permit.bandwidths;
  }

  get responses(): Deadlines {
    return this.relay.responseTimeouts.of(this.cluster);
  }

  constructor(relay: Relay, exchange: Exchange, route: TunnelRoute, caller: Caller) {
    super(relay, exchange, route, relay.registry.pick(route.cluster), caller);
    this.upgrade = requestedUpgrade(exchange.head);
  }

  /** Goes through the session that was picked. */
  send(): void {
    const { impersonation, id } = this.registration!.cluster;
    if (impersonation === "refuse" && impersonates(this.exchange.head)) {
      return this.refuse(impersonationNotAllowed(id));
    }
    try {
      forward(this.#open(this.registration!), this.exchange, this.relay.forwardLimits, this);
    } catch (error) {
      if (!(error instanceof StreamError)) throw error;
      const answer = fromStreamError(error.code);
      this.failed(answer, error.message);
      answerError(this.exchange, answer);
    }
  }

  /** Goes to the relay that has a session, or through one that has come here; there must be others. */
  seek(): void {
    this.relay.elsewhere!.serve({
      exchange: this.exchange,
      ...this.route,
      caller: this.caller,
      host: this,
      here: () => {
        this.registration = this.relay.registry.pick(this.cluster);
        if (this.registration) this.send();
        else this.refuse(clusterNotAvailable);
      },
      taken: (relay) => this.toRelay = relay,
    });
  }

  /**
   * Opens a stream and sends the request's head.
   *
   * @throws {StreamError} when no session takes a new stream; nothing has been sent or answered then.
   */
  #open(registration: Registration): Stream {
    try {
      return this.#openOn(registration);
    } catch (error) {
      if (!(error instanceof StreamError)) throw error;
      const other = this.#another("unsent", error.message);
      if (!other) throw error;
      return this.#openOn(other);
    }
  }

  again(error: StreamError): Stream | undefined {
    const [failed, session] = [this.#stream, this.registration?.session];
    // Another relay had it.
    if (!failed || !session) return undefined;
    const reason = retryReason(this.exchange, { session, stream: failed, code: error.code });
    const other = reason && this.#another(reason, error.message);
    if (!other) return undefined;
    let stream: Stream;
    try {
      stream = this.#openOn(other);
    } catch (error) {
      if (!(error instanceof StreamError)) throw error;
      return undefined;
    }
    // The first piece is the head, of which there is a new one.
    for (const piece of failed.unsent?.slice(1) ?? []) stream.write(piece);
    return stream;
  }

  /** Where no session is left here, the agent may have gone to another relay, or be on its way. */
  elsewhere(error: StreamError): (() => void) | undefined {
    const reason = this.#reasonToSeek(error);
    const { elsewhere } = this.relay;
    // What another relay has forwarded goes no further than here.
    if (!elsewhere || this.fromRelay !== undefined || !reason || !this.#mayRetry) return undefined;
    this.#retrying(reason, error.message);
    elsewhere.lost(this.cluster, this.toRelay);
    this.registration = undefined;
    this.toRelay = undefined;
    this.#stream = undefined;
    return () => this.seek();
  }

  #reasonToSeek({ code }: StreamError): RetryReason | undefined {
    if (this.toRelay !== undefined) {
      const { head, framing } = this.exchange;
      return isRepeatable(head, framing) ? "relay_lost" : undefined;
    }
    const [stream, session] = [this.#stream, this.registration?.session];
    // An agent that answers has said why, and of a body there may be no copy.
    if (!stream || !session?.isClosed || this.exchange.framing.kind !== "none") return undefined;
    return retryReason(this.exchange, { session, stream, code });
  }

  answerTo({ code, message }: StreamError): RelayError {
    if (this.toRelay !== undefined) {
      return this.relay.elsewhere?.isBrokenOff ? graceOver : relayLost;
    }
    const end = this.registration?.session.end;
    return end && endReason(end) === "going_away" ? graceOver : fromStreamError(code, message);
  }

  #openOn(registration: Registration): Stream {
    const { session, cluster } = registration;
    const { head, framing, peer } = this.exchange;
    const fields = forwardedFields(head, {
      cluster,
      peer,
      framing,
      requestId: this.requestId,
      span: this.span,
      via: this.relay.viaName,
      upgrade: this.upgrade,
      closesConnection: session.version === 1,
    });
    this.registration = registration;
    const bytes = encodeRequestHead(head.method, this.route.path, fields);
    this.#stream = session.open(cluster.targetAddr, bytes);
    return this.#stream;
  }

  /** Another session than the one that failed, for one try more. */
  #another(reason: RetryReason, detail: string): Registration | undefined {
    if (!this.#mayRetry) return undefined;
    const other = this.relay.registry.pick(this.route.cluster, this.registration?.session);
    if (other) this.#retrying(reason, detail, other.instance);
    return other;
  }

  get #mayRetry(): boolean {
    return this.retries === 0 && !this.relay.refusesRequests;
  }

  #retrying(reason: RetryReason, detail: string, instance?: string): void {
    this.retries++;
    this.relay.metrics.requestRetried(reason);
    this.relay.log.info("Sending a request again", { ...this.about, reason, detail, instance });
  }
}
