/** Newline-delimited JSON, as watches have it. */
import { KubeUnreachable } from "./errors.ts";

/** Of one line: etcd takes objects of 1.5 MiB, and JSON has some of their bytes as six. */
const maxLineCharacters = 16 * 1024 * 1024;

/** What goes on beside the reading. */
export interface LinesOptions {
  /** Called with each chunk. */
  readonly heard: () => void;
  /** Rejects when nobody should wait any longer. */
  readonly failure: Promise<never>;
}

/** The values of a body's lines, as they arrive. A last line without its end is a cut. */
export async function* jsonLines(
  body: ReadableStream<Uint8Array> | null,
  { heard, failure }: LinesOptions,
): AsyncGenerator<unknown> {
  if (body === null) return;
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), failure]);
      if (done) break;
      heard();
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop()!;
      if (rest.length > maxLineCharacters) {
        throw new KubeUnreachable(`A line has more than ${maxLineCharacters} characters`);
      }
      for (const line of lines) if (line !== "") yield parsed(line);
    }
    if (rest !== "") throw new KubeUnreachable("The watch broke off within a line");
  } finally {
    // A frozen peer must not hold this up.
    reader.cancel().catch(() => {});
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new KubeUnreachable("A line of the watch is not JSON");
  }
}
