/** Requests of the local port of `access http` on their way to the service. */
import { endToEnd, requestedUpgrade } from "../http1/fields.ts";
import { encodeRequestHead, type Field, field, getField, type HeadLimits } from "../http1/head.ts";
import { noBytes } from "../bytes/bytes.ts";
import type { Exchange } from "../net/exchange.ts";
import type { UpstreamConnection, UpstreamPool } from "../net/upstream_pool.ts";
import type { StreamError } from "../protocol/errors.ts";
import { answerError } from "../relay/error_response.ts";
import type { RelayError } from "../relay/relay_error.ts";
import { forward, type ForwardHost, type ForwardLimits } from "../relay/forward/forward.ts";
import { HopChannel } from "../relay/hop/hop_channel.ts";
import { Deadlines } from "../relay/limits/deadlines.ts";
import { IdleTimeout } from "../relay/limits/idle_timeout.ts";
import { isOwnOrigin, refuseLocal } from "./local_guard.ts";
import { localField } from "./local_response.ts";

/** What a request is forwarded with. */
export interface LocalRequestsOptions {
  /** `https://HOST[:PORT]` of the service. */
  readonly origin: string;
  readonly pool: UpstreamPool;
  readonly head: HeadLimits;
  /** The token as header fields, read anew for each request. @throws {Error} with one sentence */
  readonly credential: () => Promise<Readonly<Record<string, string>>>;
  /** A request failed on this side of the relay; in one sentence. */
  readonly failed: (reason: string) => void;
}

/** A caller that sends nothing, or a relay that takes nothing, is given up after this, in milliseconds. */
const transferTimeoutMs = 300_000;

/** Forwards requests, each with the token. */
export class LocalRequests {
  readonly #options: LocalRequestsOptions;
  readonly #service: URL;
  readonly #limits: ForwardLimits;
  /** The relay has timeouts of its own, and says so. */
  readonly #responses = new Deadlines(0);

  constructor(options: LocalRequestsOptions) {
    this.#options = options;
    this.#service = new URL(options.origin);
    const transfers = new IdleTimeout(transferTimeoutMs);
    this.#limits = { head: options.head, maxBodyBytes: 0, transfers };
  }

  /** Answers a request, in the end. */
  async serve(exchange: Exchange): Promise<void> {
    const refusal = refuseLocal(exchange.head);
    if (refusal) return answerError(exchange, refusal);
    const { pool } = this.#options;
    const gone = new AbortController();
    exchange.onAborted = () => gone.abort();
    let connection: UpstreamConnection;
    let head: Uint8Array;
    try {
      head = this.#encode(exchange, await this.#options.credential());
      connection = pool.take() ?? await pool.dial(gone.signal);
    } catch (error) {
      return this.#unreachable(exchange, error as Error);
    }
    if (exchange.isOver) return pool.putBack(connection);
    this.#send(exchange, connection, head);
  }

  #send(exchange: Exchange, connection: UpstreamConnection, head: Uint8Array): void {
    const upgrade = requestedUpgrade(exchange.head);
    const { pool } = this.#options;
    const isUpgrade = upgrade !== undefined;
    const channel = new HopChannel({ connection, pool, rest: noBytes, isUpgrade });
    const origin = {
      service: this.#service,
      local: getField(exchange.head.fields, "host")!,
    };
    const respond = exchange.respond.bind(exchange);
    exchange.respond = (status, reason, fields, mode) =>
      respond(status, reason, fields.map((it) => localField(it, origin)), mode);
    channel.write(head);
    forward(channel, exchange, this.#limits, this.#forwardHost(upgrade));
  }

  #forwardHost(upgrade: string | undefined): ForwardHost {
    return {
      requestId: "",
      span: undefined,
      upgrade,
      responses: this.#responses,
      bandwidths: [],
      answerTo: (error: StreamError) => because(error.message),
      failed: (_error, detail) => this.#options.failed(detail),
    };
  }

  #unreachable(exchange: Exchange, error: Error): void {
    if (exchange.isOver) return;
    this.#options.failed(error.message);
    answerError(exchange, because(error.message));
  }

  #encode(
    { head, framing }: Exchange,
    credential: Readonly<Record<string, string>>,
  ): Uint8Array {
    const local = getField(head.fields, "host")!;
    const fields: Field[] = [field("Host", this.#service.host)];
    for (const item of endToEnd(head.fields)) {
      const kept = this.#forwarded(item, local);
      if (kept) fields.push(kept);
    }
    for (const [name, value] of Object.entries(credential)) {
      fields.push(field(name, value));
    }
    if (framing.kind === "chunked") fields.push(field("Transfer-Encoding", "chunked"));
    const upgrade = requestedUpgrade(head);
    if (upgrade !== undefined) {
      fields.push(field("Connection", "Upgrade"), field("Upgrade", upgrade));
    }
    return encodeRequestHead(head.method, head.target, fields);
  }

  /** The service knows itself by its own origin, and what is sent from it. */
  #forwarded(item: Field, local: string): Field | undefined {
    const { key, name, value } = item;
    if (key === "host" || key.replaceAll("_", "-").startsWith("culvert-")) return undefined;
    if (key === "origin" && isOwnOrigin(value, local)) return field(name, this.#options.origin);
    const prefix = `http://${local}/`;
    if (key === "referer" && value.startsWith(prefix)) {
      return field(name, `${this.#options.origin}/${value.slice(prefix.length)}`);
    }
    return item;
  }
}

function because(detail: string): RelayError {
  return {
    status: 502,
    reason: "Bad Gateway",
    code: "relay_unreachable",
    message: detail.replaceAll(/[^\x20-\x7e]/g, "?"),
  };
}
