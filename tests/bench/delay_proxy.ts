/**
 * A long line to the next machine, as a program: a TCP proxy that delays every byte by half a round
 * trip each way and lets no more than a fixed rate through each way, all connections together.
 *
 * The model: a chunk that is read waits for its turn on the line, takes length/rate to get on it,
 * and arrives half a round trip later. Nothing is lost and there is no slow start, so a single
 * connection here does as well as one could ever do on a real line of that kind. A new connection
 * pays one round trip before its first byte moves, as the TCP handshake does.
 *
 * Memory is bounded: a connection is not read while the line has {@link MAX_QUEUE_MS} of work
 * waiting, nor while it holds more than the line can have under way and some slack.
 */
import { parseArgs } from "node:util";
import { pause } from "./wait.ts";

/** Work that may wait for the line, as on a router with a short queue. */
const MAX_QUEUE_MS = 4;

/** What a connection may hold on top of what fills the line, when its reader is slow. */
const SLACK_BYTES = 1024 * 1024;

/** Half a millisecond of a 1 Gbit/s line, so that connections take turns quickly. */
const CHUNK_BYTES = 64 * 1024;

/** One direction of the line. */
class Line {
  readonly #bytesPerMs: number;
  readonly #delayMs: number;
  #freeAtMs = 0;

  constructor(rateMbit: number, delayMs: number) {
    this.#bytesPerMs = rateMbit * 1e6 / 8 / 1000;
    this.#delayMs = delayMs;
  }

  /** How much of one connection's bytes may be between being read and being written. */
  get maxHeldBytes(): number {
    return this.#bytesPerMs * (this.#delayMs + MAX_QUEUE_MS) + SLACK_BYTES;
  }

  /** Resolves when the queue before the line has room. */
  async hasRoom(): Promise<void> {
    for (let waitMs = this.#queuedMs(); waitMs > MAX_QUEUE_MS; waitMs = this.#queuedMs()) {
      await pause(waitMs - MAX_QUEUE_MS / 2);
    }
  }

  #queuedMs(): number {
    return this.#freeAtMs - performance.now();
  }

  /** Puts bytes on the line; returns when the last of them arrives (performance.now() time). */
  send(bytes: number): number {
    this.#freeAtMs = Math.max(performance.now(), this.#freeAtMs) + bytes / this.#bytesPerMs;
    return this.#freeAtMs + this.#delayMs;
  }
}

/** Bytes on their way; no bytes mean the end of that direction. */
interface Travelling {
  readonly bytes: Uint8Array | undefined;
  readonly arrivesAtMs: number;
}

/** One direction of one connection. */
class Pipe {
  readonly #from: Deno.TcpConn;
  readonly #to: Deno.TcpConn;
  readonly #line: Line;
  readonly #travelling: Travelling[] = [];
  #heldBytes = 0;
  #isBroken = false;
  #changed = Promise.withResolvers<void>();

  constructor(from: Deno.TcpConn, to: Deno.TcpConn, line: Line) {
    this.#from = from;
    this.#to = to;
    this.#line = line;
  }

  /** Carries bytes until this direction has ended; rejects when the connection breaks. */
  async run(): Promise<void> {
    try {
      await Promise.all([this.#read(), this.#write()]);
    } finally {
      this.#isBroken = true;
      this.#wake();
    }
  }

  async #read(): Promise<void> {
    const buffer = new Uint8Array(CHUNK_BYTES);
    while (!this.#isBroken) {
      while (this.#heldBytes > this.#line.maxHeldBytes && !this.#isBroken) {
        await this.#changed.promise;
      }
      await this.#line.hasRoom();
      const count = await this.#from.read(buffer);
      const bytes = count === null ? undefined : buffer.slice(0, count);
      this.#heldBytes += bytes?.length ?? 0;
      this.#travelling.push({ bytes, arrivesAtMs: this.#line.send(bytes?.length ?? 0) });
      this.#wake();
      if (bytes === undefined) return;
    }
  }

  async #write(): Promise<void> {
    while (!this.#isBroken) {
      const next = this.#travelling.shift();
      if (next === undefined) {
        await this.#changed.promise;
        continue;
      }
      await until(next.arrivesAtMs);
      if (next.bytes === undefined) return await this.#to.closeWrite();
      for (let rest = next.bytes; rest.length > 0;) {
        rest = rest.subarray(await this.#to.write(rest));
      }
      this.#heldBytes -= next.bytes.length;
      this.#wake();
    }
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

/**
 * Resolves close to `timeMs`. Timers take whole milliseconds and fire about one late, so one less is
 * asked for: measured, a byte is a quarter of a millisecond late.
 */
async function until(timeMs: number): Promise<void> {
  for (let waitMs = timeMs - performance.now(); waitMs > 0.5; waitMs = timeMs - performance.now()) {
    await pause(Math.max(0, Math.round(waitMs) - 1));
  }
}

async function carry(client: Deno.TcpConn, to: number, lines: Lines): Promise<void> {
  using _client = client;
  client.setNoDelay(true);
  await pause(lines.rttMs);
  using server = await Deno.connect({ hostname: "127.0.0.1", port: to });
  server.setNoDelay(true);
  const forth = new Pipe(client, server, lines.forth);
  const back = new Pipe(server, client, lines.back);
  await Promise.all([forth.run(), back.run()]);
}

interface Lines {
  readonly rttMs: number;
  readonly forth: Line;
  readonly back: Line;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      listen: { type: "string" },
      to: { type: "string" },
      rtt: { type: "string" },
      rate: { type: "string" },
    },
  });
  const [listen, to, rttMs, rateMbit] = [values.listen, values.to, values.rtt, values.rate]
    .map(Number) as [number, number, number, number];
  if ([listen, to, rttMs, rateMbit].some((value) => !(value > 0))) {
    console.error("Usage: delay_proxy.ts --listen PORT --to PORT --rtt MS --rate MBIT");
    Deno.exit(2);
  }
  const lines: Lines = {
    rttMs,
    forth: new Line(rateMbit, rttMs / 2),
    back: new Line(rateMbit, rttMs / 2),
  };
  for await (const client of Deno.listen({ hostname: "127.0.0.1", port: listen })) {
    carry(client, to, lines).catch((error: unknown) => {
      // An end that broke off, or a server that is not there: both ends see a closed connection.
      console.error(`delay_proxy: Connection ended: ${error}`);
    });
  }
}

await main();
