/**
 * A version 2 agent for the tests: it dials a relay, hands each stream that the relay opens to the
 * test and sends exactly the frames and bytes that the test gives it, wrong ones too.
 *
 * Written from the protocol's text alone; it shares no code with the product.
 */
import { within } from "../support/deadline.ts";
import { V1_MAX_MESSAGE_BYTES } from "./v1_frame.ts";
import {
  decodeOpenPayload,
  jsonPayload,
  parseJson,
  V2,
  type V2Frame,
  type V2Settings,
} from "./v2_frame.ts";
import { V2Link, v2Settings } from "./v2_link.ts";
import { V2Stream } from "./v2_stream.ts";
import { WsClient, type WsSocket } from "./ws.ts";

/** How to start a version 2 agent. */
export interface V2AgentOptions {
  /** The relay's `ws://host:port/connect`. */
  readonly relayUrl: string;
  readonly token: string;
  /** What the agent's Settings say instead of the defaults. */
  readonly settings?: Partial<V2Settings>;
  /** Whether the relay's Settings are answered (the default). */
  readonly answersSettings?: boolean;
  /** Whether every byte of a request is credited at once (the default). */
  readonly grantsCredit?: boolean;
  /** Serves each stream; what it throws is rethrown when the agent is disposed. */
  readonly serve?: (stream: V2Stream, target: string) => Promise<void>;
}

/** A connected agent. Disposing it drops the connection. */
export class V2Agent implements AsyncDisposable {
  readonly link: V2Link;
  /** Every stream that the relay has opened, in order. */
  readonly opened: V2Stream[] = [];
  readonly #options: V2AgentOptions;
  readonly #streams = new Map<number, V2Stream>();
  readonly #serving: Promise<void>[] = [];
  readonly #failures: unknown[] = [];
  readonly #ready = Promise.withResolvers<Record<string, unknown>>();
  #settings: Record<string, unknown> | undefined;

  private constructor(ws: WsSocket, options: V2AgentOptions) {
    this.#options = options;
    this.link = new V2Link(ws, {
      onFrame: (frame) => this.#onFrame(frame),
      onClose: ({ code, reason }) => {
        for (const stream of [...this.#streams.values()]) stream.endWithSession();
        this.#ready.reject(new Error(`Session ended with ${code} "${reason}" before Settings`));
      },
    });
    // An agent whose session ends early, and for whose Settings nobody waits, is no error.
    this.#ready.promise.catch(() => undefined);
  }

  /** Connects to a relay and waits for its Settings. */
  static async start(options: V2AgentOptions): Promise<V2Agent> {
    const ws = new WsClient(options.relayUrl, {
      headers: { authorization: `Bearer ${options.token}`, "tunnel-version": "2" },
      perMessageDeflate: false,
      maxPayload: V1_MAX_MESSAGE_BYTES,
    });
    const agent = new V2Agent(ws, options);
    await within(agent.#ready.promise, "the relay's Settings");
    return agent;
  }

  /** What the relay's Settings say. */
  get settings(): Record<string, unknown> {
    if (!this.#settings) throw new Error("The relay has not sent its Settings");
    return this.#settings;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.link.terminate();
    await Promise.all(this.#serving);
    if (this.#failures.length > 0) throw new AggregateError(this.#failures, "Serving failed");
  }

  #onFrame(frame: V2Frame): void {
    if (frame.type === V2.settings) this.#onSettings(frame.payload);
    else if (frame.type === V2.open) this.#onOpen(frame);
    else this.#streams.get(frame.streamId)?.receive(frame);
  }

  #onSettings(payload: Uint8Array): void {
    this.#settings = parseJson(payload);
    if (this.#options.answersSettings !== false) {
      void this.link.send(V2.settings, 0, jsonPayload(v2Settings(this.#options.settings)));
    }
    this.#ready.resolve(this.#settings);
  }

  #onOpen({ streamId, payload }: V2Frame): void {
    const { target, first } = decodeOpenPayload(payload);
    const stream = new V2Stream(streamId, this.link, {
      credit: Number(this.settings.window),
      grantsCredit: this.#options.grantsCredit ?? true,
      onOver: () => this.#streams.delete(streamId),
    });
    this.#streams.set(streamId, stream);
    this.opened.push(stream);
    stream.take(first);
    const { serve } = this.#options;
    if (serve) this.#serving.push(this.#serve(serve(stream, target)));
  }

  async #serve(serving: Promise<void>): Promise<void> {
    try {
      await serving;
    } catch (error) {
      this.#failures.push(error);
    }
  }
}
