/** Newline-delimited JSON, as watches have it. */
import { KubeUnreachable } from "./errors.ts";

/** The longest line. etcd accepts objects of 1.5 MiB, and JSON may escape a byte as six characters. */
const maxLineCharacters = 16 * 1024 * 1024;

/** What goes on beside the reading. */
export interface LinesOptions {
  /** Characters of one line at most; 16 Mi unless given. */
  readonly maxCharacters?: number;
  /**
   * Called when the part of a line that is kept until its end comes has another length, in characters;
   * 0 in the end. What it throws ends the reading.
   */
  readonly holds?: (characters: number) => void;
  /** Called with each chunk. */
  readonly heard: () => void;
  /** Rejects when nobody should wait any longer. */
  readonly failure: Promise<never>;
}

/** The values of a body's lines, as they arrive. A last line without its end is a cut. */
export async function* jsonLines(
  body: ReadableStream<Uint8Array> | null,
  { heard, failure, maxCharacters = maxLineCharacters, holds = () => {} }: LinesOptions,
): AsyncGenerator<unknown> {
  if (body === null) return;
  const reader = chunksOf(body);
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const value = await Promise.race([reader.read(), failure]);
      if (value === undefined) break;
      heard();
      const [first, ...others] = decoder.decode(value, { stream: true }).split("\n");
      // Only what is new is searched: a long line comes in many pieces.
      rest += first!;
      for (const next of others) {
        if (rest !== "") yield parsed(rest);
        rest = next;
      }
      if (rest.length > maxCharacters) {
        throw new KubeUnreachable(`A line has more than ${maxCharacters} characters`);
      }
      holds(rest.length);
    }
    if (rest !== "") throw new KubeUnreachable("The watch broke off within a line");
  } finally {
    holds(0);
    // A frozen peer must not hold this up.
    reader.cancel().catch(() => {});
  }
}

interface Chunks {
  /** The next bytes, which are good until the next call; undefined at the end. */
  read(): Promise<Uint8Array | undefined>;
  cancel(): Promise<void>;
}

const bufferBytes = 16 * 1024;

/**
 * Reads into one buffer, where a body can be read like that: `fetch` would make a new one of 64 KiB for
 * each event, however small that is.
 */
function chunksOf(body: ReadableStream<Uint8Array>): Chunks {
  try {
    const reader = body.getReader({ mode: "byob" });
    let buffer = new ArrayBuffer(bufferBytes);
    return {
      async read() {
        const { done, value } = await reader.read(new Uint8Array(buffer));
        if (value) buffer = value.buffer;
        return done ? undefined : value;
      },
      cancel: () => reader.cancel(),
    };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const reader = body.getReader();
    return {
      read: async () => (await reader.read()).value,
      cancel: () => reader.cancel(),
    };
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new KubeUnreachable("A line of the watch is not JSON");
  }
}
