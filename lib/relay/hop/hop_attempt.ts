/** One try to have another relay take a request. */
import { HeadError, type HeadLimits, type ResponseHead } from "../../http1/head.ts";
import { HeadReader } from "../../http1/head_reader.ts";
import { messageOf } from "../../message_of.ts";
import type { UpstreamConnection, UpstreamPool } from "../../net/upstream_pool.ts";
import type { Deadline, Deadlines } from "../limits/deadlines.ts";
import { HopChannel } from "./hop_channel.ts";
import { readHopAnswer } from "./hop_fields.ts";

/** How a try ended. */
export type HopAttemptEnd =
  /** The other relay has the request and answers it through the channel. */
  | { readonly kind: "accepted"; readonly channel: HopChannel }
  /** It does not hold the session; nothing was done with the request. */
  | { readonly kind: "not-here" }
  /**
   * It closed the connection in good order and without a word, as one does that stops: its word
   * would have come first if it had begun with the request (see `acceptHop`).
   */
  | { readonly kind: "closing" }
  /** It can't be connected to, or closes at once; nothing was done with the request. */
  | { readonly kind: "unreachable"; readonly detail: string }
  /** It does not take our requests; nothing was done with this one. */
  | { readonly kind: "refused"; readonly detail: string; readonly status?: number }
  /** The connection broke, or there was no word in time: the request may be under way. */
  | { readonly kind: "broken"; readonly detail: string };

/** What a try needs. */
export interface HopAttemptOptions {
  pool: UpstreamPool;
  /** The whole head, for the other relay. */
  head: Uint8Array;
  isUpgrade: boolean;
  limits: HeadLimits;
  /** Waits for the other relay's word. */
  acceptances: Deadlines;
  /** Called once, unless the try is given up; within the constructor never. */
  ended: (end: HopAttemptEnd) => void;
}

/**
 * Sends a request's head, and nothing of its body, to another relay and waits for its word.
 *
 * `dialling`: there is no connection yet. `waiting`: the head is sent. `over`: it has ended.
 */
export class HopAttempt {
  readonly #options: HopAttemptOptions;
  readonly #dialling = new AbortController();
  #state: "dialling" | "waiting" | "over" = "dialling";
  #connection: UpstreamConnection | undefined;
  readonly #heads: HeadReader<ResponseHead>;
  #deadline: Deadline | undefined;

  constructor(options: HopAttemptOptions) {
    this.#options = options;
    this.#heads = HeadReader.forResponses(options.limits);
    const pooled = options.pool.take();
    if (pooled) this.#send(pooled);
    else this.#dial();
  }

  /** The caller went away. */
  abandon(): void {
    if (this.#state === "over") return;
    this.#over();
    this.#dialling.abort();
    this.#connection?.socket.resetAndDestroy();
    this.#connection?.destroy();
  }

  async #dial(): Promise<void> {
    let connection: UpstreamConnection;
    try {
      connection = await this.#options.pool.dial(this.#dialling.signal);
    } catch (error) {
      const detail = messageOf(error);
      return this.#end({ kind: "unreachable", detail });
    }
    if (this.#state === "over") this.#options.pool.putBack(connection);
    else this.#send(connection);
  }

  #send(connection: UpstreamConnection): void {
    this.#state = "waiting";
    this.#connection = connection;
    connection.use({
      data: (bytes) => this.#received(bytes),
      drained() {},
      ended: (isOrderly) => this.#ended(isOrderly),
    });
    this.#deadline = this.#options.acceptances.begin(() =>
      this.#broken("The other relay did not accept the request in time")
    );
    connection.socket.write(this.#options.head);
  }

  #received(bytes: Uint8Array): void {
    try {
      const head = this.#heads.read(bytes);
      if (head) this.#answered(head);
    } catch (error) {
      if (!(error instanceof HeadError)) throw error;
      this.#refused(error.message);
    }
  }

  #answered(head: ResponseHead): void {
    const { pool, isUpgrade } = this.#options;
    const answer = readHopAnswer(head);
    if (answer === "refused") {
      return this.#refused(`It answered with status ${head.status}`, head.status);
    }
    const connection = this.#connection!;
    if (answer === "not-here") {
      connection.destroy();
      return this.#end({ kind: "not-here" });
    }
    const channel = new HopChannel({ connection, pool, rest: this.#heads.takeRest(), isUpgrade });
    this.#end({ kind: "accepted", channel });
  }

  #refused(detail: string, status?: number): void {
    this.#connection!.destroy();
    this.#end({ kind: "refused", detail, ...status !== undefined && { status } });
  }

  #ended(isOrderly: boolean): void {
    const detail = "The other relay closed the connection";
    if (!isOrderly || this.#heads.hasBegun) return this.#broken(detail);
    const connection = this.#connection!;
    connection.destroy();
    // One that has carried nothing yet was refused, as for a certificate.
    this.#end(connection.isReused ? { kind: "closing" } : { kind: "unreachable", detail });
  }

  #broken(detail: string): void {
    if (this.#state === "over") return;
    this.#connection!.destroy();
    this.#end({ kind: "broken", detail });
  }

  #end(end: HopAttemptEnd): void {
    if (this.#state === "over") return;
    this.#over();
    this.#options.ended(end);
  }

  #over(): void {
    this.#state = "over";
    this.#options.acceptances.end(this.#deadline);
  }
}
