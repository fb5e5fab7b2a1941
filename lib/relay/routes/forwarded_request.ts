/** A caller's request on its way through a session, or, where that is safe, a second one. */
import { requestedUpgrade } from "../../http1/fields.ts";
import { encodeRequestHead, type Field } from "../../http1/head.ts";
import type { Exchange } from "../../net/exchange.ts";
import { StreamError } from "../../protocol/errors.ts";
import { endReason } from "../../protocol/session_end.ts";
import type { Stream } from "../../protocol/stream.ts";
import type { Span } from "../../trace.ts";
import { type Registration, serves } from "../agents/registry.ts";
import { Denial } from "../callers/caller.ts";
import { graceOver, relayLost } from "../availability_errors.ts";
import { answerError } from "../error_response.ts";
import type { RelayError } from "../relay_error.ts";
import { fromStreamError } from "../stream_errors.ts";
import { forward, type ForwardHost } from "../forward/forward.ts";
import { forwardedFields, type TargetView } from "../forward/headers.ts";
import { rerouteReason, type RetryReason, retryReason } from "../forward/retry_rules.ts";
import type { Bandwidth } from "../limits/bandwidth.ts";
import type { Deadlines } from "../limits/deadlines.ts";
import type { RefusalThrottle } from "../limits/refusal_throttle.ts";
import { identityFields } from "../people/identities.ts";
import type { Relay } from "../relay.ts";
import type { Destination } from "./destination.ts";
import { refuseUnrecorded, type RequestContext } from "./request_context.ts";

/** What is asked of a request that its caller may make; it counts against limits all the same. */
export interface RequestChecks {
  /** Why it is not sent, or nothing. */
  readonly refusal: () => RelayError | undefined;
  /** Answers it, if the relay is what it is for. */
  readonly answersItself: () => boolean;
}

/** One request and the sessions that it is tried through. */
export class ForwardedRequest implements ForwardHost {
  readonly upgrade: string | undefined;
  readonly context: RequestContext;
  readonly #relay: Relay;
  readonly #exchange: Exchange;
  readonly #destination: Destination;
  #stream: Stream | undefined;

  constructor(context: RequestContext, exchange: Exchange, destination: Destination) {
    this.context = context;
    this.#relay = context.relay;
    this.#exchange = exchange;
    this.#destination = destination;
    this.upgrade = requestedUpgrade(exchange.head);
    context.follow(exchange);
    context.onRevoked = () => {
      // As if the caller had left; and then it has to.
      exchange.onAborted();
      exchange.abort();
    };
  }

  get requestId(): string {
    return this.context.requestId;
  }

  get span(): Span | undefined {
    return this.context.span;
  }

  get bandwidths(): readonly Bandwidth[] {
    return this.context.permit.bandwidths;
  }

  get responses(): Deadlines {
    return this.#relay.responseTimeouts.ofRoute(this.context.route);
  }

  /**
   * Lets the caller in, has the request recorded, and then sends it. It is answered at once where the
   * relay, a limit or the request itself does not allow that.
   */
  serve({ refusal, answersItself }: RequestChecks): void {
    const { context } = this;
    const refused = context.admit();
    if (refused instanceof Denial) {
      const { route, caller } = context;
      return this.#relay.callerRefusals.refuse(this.#exchange, refused, route, caller);
    }
    if (refused) return this.refuse(refused.error, refused.throttle);
    const error = refusal();
    if (error) return this.refuse(error);
    if (answersItself()) return;
    if (this.#relay.peers && this.#isLastResort) context.registration = undefined;
    this.whenRecorded(() => context.registration ? this.send() : this.seek());
  }

  /** Calls `go` once the request may go on. */
  whenRecorded(go: () => void): void {
    this.context.whenRecorded(go, () => refuseUnrecorded(this.#exchange));
  }

  /**
   * Whether the session is taken only when no other relay takes the request: its agent may be there now,
   * or another one that serves the target.
   */
  get #isLastResort(): boolean {
    const { registration, route } = this.context;
    if (!registration) return false;
    const { session } = registration;
    return session.isSuspect || (session.isDraining && !this.#relay.isStopping) ||
      !serves(registration, route);
  }

  /** Goes through the session that was picked. */
  send(): void {
    const registration = this.context.registration!;
    const refusal = this.#refusalAt(registration);
    if (refusal) return this.refuse(refusal);
    try {
      forward(this.#open(registration), this.#exchange, this.#relay.forwardLimits, this);
    } catch (error) {
      if (!(error instanceof StreamError)) throw error;
      const answer = this.#destination.errorOf(fromStreamError(error.code));
      this.context.failed(answer, error.message);
      answerError(this.#exchange, answer);
    }
  }

  /** Why this agent does not get the request, or nothing. */
  #refusalAt(registration: Registration): RelayError | undefined {
    const fields = this.#identityAt(registration);
    if ("status" in fields) return fields;
    // Whom it asks to act for was looked at when its caller was mapped.
    if (this.context.identity.impersonation) return undefined;
    return this.#destination.refusalAt(registration, this.#exchange.head);
  }

  /** What the agent and its target are told about the caller, or why it can't be told. */
  #identityAt(registration: Registration): readonly Field[] | RelayError {
    const target = registration.targets?.get(this.#destination.targetAt(registration));
    return identityFields(this.context.identity, target?.impersonate);
  }

  #viewAt(registration: Registration): TargetView {
    const view = this.#destination.viewAt(registration);
    if (!this.context.identity.impersonation) return view;
    return { ...view, rules: { ...view.rules, impersonation: "strip" } };
  }

  /** Goes to the relay that has a session, or through one that has come here; there must be others. */
  seek(): void {
    const { context } = this;
    const { route, caller } = context;
    const pick = (): Registration | undefined =>
      this.#relay.registry.pick(route.cluster, { route });
    this.#relay.peers!.serve({
      exchange: this.#exchange,
      route,
      caller: caller!,
      identity: context.identity,
      host: this,
      isHere: () => pick() !== undefined,
      here: () => {
        context.registration = pick();
        if (context.registration) this.send();
        else this.refuse(this.#destination.notAvailable());
      },
      accepted: (relay) => context.toRelay = relay,
      notAvailable: this.#destination.notAvailable(),
    });
  }

  /**
   * The request is not tried: says why to the caller and counts the limit that it met.
   *
   * @param throttle When to say it; at once unless given.
   */
  refuse(error: RelayError, throttle?: RefusalThrottle): void {
    this.context.answered(error);
    if (!throttle) return answerError(this.#exchange, error);
    throttle.take(() => {
      if (!this.#exchange.isOver) answerError(this.#exchange, error);
    });
  }

  failed(error: RelayError, detail: string): void {
    this.context.failed(error, detail);
  }

  returned(fields: Field[], status: number): Field[] {
    const { registration } = this.context;
    const exchange = this.#exchange;
    const destination = this.#destination;
    const rewritten = registration
      ? destination.returnedAt(registration, fields, exchange)
      : fields;
    return destination.returned(rewritten, status, exchange);
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
    const [failed, session] = [this.#stream, this.context.registration?.session];
    // Another relay had it.
    if (!failed || !session) return undefined;
    const reason = retryReason(this.#exchange, { session, stream: failed, code: error.code });
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
  handOver({ code, message }: StreamError): (() => void) | undefined {
    const { context } = this;
    const { toRelay, registration } = context;
    const { peers } = this.#relay;
    // What another relay has forwarded goes no further than here.
    if (!peers || context.fromRelay !== undefined || !this.#mayRetry) return undefined;
    const lost = { toRelay, session: registration?.session, stream: this.#stream, code };
    const reason = rerouteReason(this.#exchange, lost);
    if (!reason) return undefined;
    this.#countRetry(reason, message);
    peers.lost(context.cluster, toRelay);
    context.registration = undefined;
    context.toRelay = undefined;
    this.#stream = undefined;
    return () => this.seek();
  }

  answerTo({ code, message }: StreamError): RelayError {
    const { toRelay, registration } = this.context;
    if (toRelay !== undefined) return this.#relay.peers?.isBrokenOff ? graceOver : relayLost;
    const end = registration?.session.end;
    if (end && endReason(end) === "going_away") return graceOver;
    return this.#destination.errorOf(fromStreamError(code, message));
  }

  #openOn(registration: Registration): Stream {
    const { session } = registration;
    const { head, framing, peer } = this.#exchange;
    const told = this.#identityAt(registration);
    if ("status" in told) throw new StreamError("forbidden", told.message);
    const fields = forwardedFields(head, {
      target: this.#viewAt(registration),
      identity: { fields: told, hides: this.context.identity.hides },
      peer,
      framing,
      requestId: this.requestId,
      span: this.span,
      via: this.#relay.viaName,
      upgrade: this.upgrade,
      closesConnection: session.version === 1,
    });
    this.context.registration = registration;
    const bytes = encodeRequestHead(head.method, this.context.route.path, fields);
    this.#stream = session.open(this.#destination.targetAt(registration), bytes);
    return this.#stream;
  }

  /** Another session than the one that failed, for one try more. */
  #another(reason: RetryReason, detail: string): Registration | undefined {
    if (!this.#mayRetry) return undefined;
    const { route, registration } = this.context;
    const except = registration?.session;
    const other = this.#relay.registry.pickServing(route.cluster, { except, route });
    if (other) this.#countRetry(reason, detail, other.instance);
    return other;
  }

  get #mayRetry(): boolean {
    return this.context.retries === 0 && !this.#relay.refusesRequests;
  }

  #countRetry(reason: RetryReason, detail: string, instance?: string): void {
    this.context.retries++;
    this.#relay.metrics.requestRetried(reason);
    this.context.log.sentAgain(reason, detail, instance);
  }
}
