/**
 * Messages between a parent and a worker as lines of JSON over the worker's standard input and output.
 * Node's IPC would do as well, but a compiled binary has none under Deno 2.9.6. Each begins
 * with a mark (RFC 7464 has the same), so that nothing else on standard output is taken for one.
 */
import type { Message } from "../../../workers/channel.ts";

/** RS: no line of JSON has it elsewhere. */
const mark = 0x1e;
const lineEnd = 0x0a;

/** A message as a line. */
export function messageLine(message: Message): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${String.fromCharCode(mark)}${JSON.stringify(message)}\n`);
}

/**
 * Takes messages from lines.
 *
 * @returns all other lines, as pieces of what was read
 */
export async function* takeMessages(
  source: AsyncIterable<Uint8Array>,
  received: (message: Message) => void,
): AsyncGenerator<Uint8Array> {
  let pieces: Uint8Array[] = [];
  for await (const chunk of source) {
    const end = chunk.lastIndexOf(lineEnd) + 1;
    if (end === 0) {
      pieces.push(chunk);
      continue;
    }
    const lines = joined([...pieces, chunk.subarray(0, end)]);
    pieces = end < chunk.length ? [chunk.slice(end)] : [];
    const others = takeFrom(lines, received);
    if (others.length > 0) yield others;
  }
  // What is left of a process that has crashed is no whole message.
  const rest = joined(pieces);
  if (rest.length > 0 && rest[0] !== mark) yield rest;
}

/** Whole lines without the messages among them. */
function takeFrom(lines: Uint8Array, received: (message: Message) => void): Uint8Array {
  const others: Uint8Array[] = [];
  for (let at = 0; at < lines.length;) {
    const end = lines.indexOf(lineEnd, at) + 1;
    const line = lines.subarray(at, end);
    at = end;
    if (line[0] === mark) received(JSON.parse(new TextDecoder().decode(line.subarray(1))));
    else others.push(line);
  }
  return joined(others);
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  if (pieces.length === 1) return pieces[0]!;
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
