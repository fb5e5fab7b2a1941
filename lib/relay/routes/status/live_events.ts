/** Tells browsers that the picture has changed (HTML standard, "Server-sent events"). */
import { encodeLatin1, noBytes } from "../../../bytes/bytes.ts";
import { dateField } from "../../../http1/date.ts";
import { field } from "../../../http1/head.ts";
import type { Exchange } from "../../../net/exchange.ts";

/** What the events are about. */
export interface LiveSource {
  /** Calls `changed` soon after something changed; returns how to stop that. */
  follow(changed: () => void): () => void;
  /** Whether the relay is about to stop. */
  readonly isStopping: () => boolean;
}

/** Event streams at a time, over all who look. */
const maxStreams = 64;
/** How often it is asked whether the one who looks still may, in milliseconds. */
const tickMs = 1_000;
/** Ticks from one event to the next at least: with each, a page is made. */
const minTicks = 2;
/** Ticks after which an event is sent though nothing has changed: ages on the page have. */
const idleTicks = 15;
/** Ticks after which a stream ends; browsers open another. */
const maxTicks = 3_600;
/** How long browsers wait before they open another stream, in milliseconds. */
const retryMs = 5_000;

/** The event streams of one relay. */
export class LiveEvents {
  readonly #source: LiveSource;
  #open = 0;

  constructor(source: LiveSource) {
    this.#source = source;
  }

  /** Whether one more may begin. */
  get hasRoom(): boolean {
    return this.#open < maxStreams;
  }

  /** Streams that are open. */
  get open(): number {
    return this.#open;
  }

  /** Answers with events until the browser leaves, or the one who looks may look no longer. */
  answer(exchange: Exchange, isLetIn: () => boolean | Promise<boolean>): void {
    this.#open++;
    const stream = new EventStream(exchange, this.#source, isLetIn, () => this.#open--);
    stream.start();
  }
}

class EventStream {
  readonly #exchange: Exchange;
  readonly #source: LiveSource;
  readonly #isLetIn: () => boolean | Promise<boolean>;
  readonly #ended: () => void;
  #stopFollowing = (): void => {};
  #timer: ReturnType<typeof setTimeout> | undefined;
  #hasChanged = false;
  /** Whether the browser takes what is written. */
  #hasRoom = true;
  #ticks = 0;
  #silentTicks = 0;
  #isOver = false;

  constructor(
    exchange: Exchange,
    source: LiveSource,
    isLetIn: () => boolean | Promise<boolean>,
    ended: () => void,
  ) {
    this.#exchange = exchange;
    this.#source = source;
    this.#isLetIn = isLetIn;
    this.#ended = ended;
  }

  start(): void {
    const exchange = this.#exchange;
    exchange.onAborted = () => this.#end();
    exchange.onDrain = () => this.#hasRoom = true;
    exchange.respond(200, "OK", [
      field("Content-Type", "text/event-stream"),
      field("Cache-Control", "no-store"),
      field("X-Content-Type-Options", "nosniff"),
      // A proxy in front must not keep events until it has many (nginx).
      field("X-Accel-Buffering", "no"),
      dateField(),
    ], "content");
    this.#write(`retry: ${retryMs}\n\n`);
    this.#stopFollowing = this.#source.follow(() => this.#hasChanged = true);
    this.#wait();
  }

  #wait(): void {
    this.#timer = setTimeout(() => void this.#tick(), tickMs);
  }

  async #tick(): Promise<void> {
    const isLetIn = await this.#mayGoOn();
    if (this.#isOver) return;
    if (this.#exchange.isOver) return this.#end();
    if (!isLetIn || this.#source.isStopping() || ++this.#ticks >= maxTicks) {
      this.#end();
      // The page asks anew, and is told why; a relay that stops has another one answer.
      this.#exchange.finish(isLetIn ? noBytes : encodeLatin1("event: over\ndata:\n\n"));
      return;
    }
    this.#silentTicks++;
    const isDue = this.#silentTicks >= (this.#hasChanged ? minTicks : idleTicks);
    if (this.#hasRoom && isDue) {
      this.#hasChanged = false;
      this.#silentTicks = 0;
      this.#write("event: changed\ndata:\n\n");
    }
    this.#wait();
  }

  /** Who can't be asked about is not let in. */
  async #mayGoOn(): Promise<boolean> {
    try {
      return await this.#isLetIn();
    } catch {
      return false;
    }
  }

  #write(text: string): void {
    this.#hasRoom = this.#exchange.write(encodeLatin1(text));
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#stopFollowing();
    this.#ended();
  }
}
