/** A caller's TCP connection on its way to a service's target. */
import { noBytes } from "../../bytes/bytes.ts";
import { field } from "../../http1/head.ts";
import type { Channel } from "../../net/channel.ts";
import { ConnectingChannel } from "../../net/connecting_channel.ts";
import type { Exchange } from "../../net/exchange.ts";
import { splice } from "../../net/splice.ts";
import { TcpChannel, TcpClose, type TcpFault, tcpProtocol } from "../../net/tcp_channel.ts";
import { StreamError, type StreamErrorCode } from "../../protocol/errors.ts";
import type { Registration } from "../agents/registry.ts";
import type { RelayBindings } from "../env.ts";
import { responseTimeout } from "../availability_errors.ts";
import { answerError } from "../error_response.ts";
import type { RelayError } from "../relay_error.ts";
import { fromStreamError } from "../stream_errors.ts";
import type { RetryReason } from "../forward/retry_rules.ts";
import { PacedChannel } from "../limits/paced_channel.ts";
import type { Destination } from "./destination.ts";
import type { RequestContext } from "./request_context.ts";
import { ForwardedRequest } from "./forwarded_request.ts";

/**
 * What a caller whose bytes come as they are asks to upgrade to: a relay that hands on a connection of
 * one of its ports. Others come in a WebSocket.
 */
export const rawUpgrade = "culvert-tcp";

/**
 * For an agent to connect to its target, in milliseconds: more than agents take (`--dial-timeout`),
 * whose reason is the better one.
 */
const connectTimeoutMs = 30_000;

/** Errors with which an agent says that there is no connection to the target. */
const notConnectedCodes: ReadonlySet<StreamErrorCode> = new Set(
  ["refused", "unreachable", "tls", "limit", "forbidden", "kind_not_supported"] as const,
);

const nobody = (): void => {};

/** One connection. It is answered with 101 only once the agent has connected to the target. */
export class TcpRequest extends ForwardedRequest {
  readonly #exchange: Exchange;
  readonly #destination: Destination;
  readonly #acceptWebSocket: RelayBindings["acceptWebSocket"];

  constructor(
    context: RequestContext,
    exchange: Exchange,
    destination: Destination,
    acceptWebSocket: RelayBindings["acceptWebSocket"],
  ) {
    super(context, exchange, destination);
    this.#exchange = exchange;
    this.#destination = destination;
    this.#acceptWebSocket = acceptWebSocket;
  }

  override send(): void {
    const registration = this.context.registration!;
    const refusal = this.#destination.refusalAt(registration, this.#exchange.head);
    if (refusal) return this.refuse(refusal);
    const target = this.#destination.targetAt(registration);
    try {
      this.#await(registration, registration.session.open(target, noBytes, { kind: "tcp" }));
    } catch (error) {
      if (!(error instanceof StreamError)) throw error;
      this.#notConnected(registration, error, true);
    }
  }

  /** Nothing has been sent, and nothing is until the target is connected, so another agent may try. */
  #await(registration: Registration, stream: Channel): void {
    const channel = new ConnectingChannel(stream, {
      connected: () => {
        settled();
        this.#connected(registration, channel);
      },
      failed: (error) => {
        settled();
        this.#notConnected(registration, error, notConnectedCodes.has(error.code));
      },
    });
    const settled = (): void => {
      clearTimeout(timer);
      this.#exchange.onAborted = nobody;
    };
    const timer = setTimeout(() => {
      settled();
      channel.close();
      this.#answer(responseTimeout, "The agent has not connected to the target");
    }, connectTimeoutMs);
    this.#exchange.onAborted = () => {
      settled();
      channel.close();
    };
  }

  /** @param isAnswered Whether the agent, or its session, has said that it will not connect. */
  #notConnected(registration: Registration, error: StreamError, isAnswered: boolean): void {
    const goOn = this.#nextTry(registration, error, isAnswered);
    if (goOn) return goOn();
    this.#answer(this.answerTo(error), error.message);
  }

  #nextTry(
    { session }: Registration,
    { message }: StreamError,
    isAnswered: boolean,
  ): (() => void) | undefined {
    const { context } = this;
    const { relay, route } = context;
    if (context.retries > 0 || relay.refusesRequests) return undefined;
    if (!isAnswered && !session.isClosed) return undefined;
    const reason = session.isClosed ? "session_lost" : "not_started";
    const other = relay.registry.pickServing(route.cluster, { except: session, route });
    if (other) {
      this.#retrying(reason, message, other.instance);
      context.registration = other;
      return () => this.send();
    }
    // What another relay has handed on goes no further than here.
    if (!relay.peers || context.fromRelay !== undefined || !session.isClosed) return undefined;
    this.#retrying(reason, message);
    relay.peers.lost(context.cluster, undefined);
    context.registration = undefined;
    return () => this.seek();
  }

  #retrying(reason: RetryReason, detail: string, instance?: string): void {
    this.context.retries++;
    this.context.relay.metrics.requestRetried(reason);
    this.context.log.sentAgain(reason, detail, instance);
  }

  #answer(error: RelayError, detail: string): void {
    const answer = this.#destination.errorOf(error);
    this.context.failed(answer, detail);
    answerError(this.#exchange, answer);
  }

  #connected(registration: Registration, stream: Channel): void {
    const exchange = this.#exchange;
    if (exchange.isOver) return stream.close();
    const channel = this.bandwidths.length > 0 ? new PacedChannel(stream, this.bandwidths) : stream;
    if (this.upgrade?.toLowerCase() !== rawUpgrade) {
      void this.#joinWebSocket(registration, channel);
      return;
    }
    const head = { minor: 1, status: 101, reason: "Switching Protocols", fields: [] };
    const fields = [field("Connection", "Upgrade"), field("Upgrade", rawUpgrade)];
    const fault = exchange.switchProtocols(head, fields, channel, noBytes);
    if (fault === undefined) return;
    channel.close();
    this.#answer(fromStreamError("internal"), fault);
  }

  async #joinWebSocket(registration: Registration, stream: Channel): Promise<void> {
    const exchange = this.#exchange;
    const { context } = this;
    const { answerField } = exchange;
    let socket: Awaited<ReturnType<RelayBindings["acceptWebSocket"]>>;
    try {
      const fields = answerField ? [answerField] : [];
      socket = await this.#acceptWebSocket({ protocol: tcpProtocol, fields });
    } catch (error) {
      stream.close();
      context.failed(fromStreamError("reset"), String(error));
      return exchange.detachedEnd?.(0, 0);
    }
    const channel = new TcpChannel(socket, {
      broken: () => this.#fault(registration),
    });
    context.onRevoked = () => {
      const isRemoved = context.code === "service_removed";
      const reason = isRemoved ? "the service was removed" : "the access was withdrawn";
      channel.closeWith(TcpClose.Withdrawn, reason);
      stream.close();
      over();
    };
    const carried = { bytes: 0, bytesIn: 0 };
    context.carried = carried;
    const over = (): void => {
      context.onRevoked = nobody;
      exchange.detachedEnd?.(carried.bytes, carried.bytesIn);
    };
    splice(channel, stream, {
      moved: (length, toFirst) => {
        if (toFirst) carried.bytes += length;
        else carried.bytesIn += length;
      },
      closed: (error) => {
        if (error) context.code ??= error.code;
        over();
      },
    });
  }

  /** What `access` tells its user; the detail, which may name addresses, is for the log alone. */
  #fault({ session }: Registration): TcpFault {
    if (this.context.relay.isStopping && session.isClosed) {
      return { code: TcpClose.GoingAway, reason: "the relay is shutting down" };
    }
    if (session.isClosed) {
      return { code: TcpClose.TargetBroke, reason: "the agent lost its connection to the relay" };
    }
    return { code: TcpClose.TargetBroke, reason: "the connection to the target broke" };
  }
}
