/**
 * The hexadecimal examples of docs/protocol.md. Each line has bytes and says on its right what they
 * are, in one of a few forms; reading an example checks every line against its own bytes.
 */
import { frameName, headerBytes, readUint32 } from "../../lib/protocol/frame.ts";
import { blocks } from "./markdown.ts";

/** One example. */
export interface HexExample {
  readonly bytes: Uint8Array;
  /** The frame headers that the right column names, in order: `Open, stream 1`. */
  readonly frames: readonly string[];
}

const lineShape = /^((?:[0-9a-f]{2} )*[0-9a-f]{2}) {2,}(.+)$/;

/** All examples of a page by name. @throws {Error} where a line is not what its right column says. */
export function hexExamples(page: string): Map<string, HexExample> {
  const examples = new Map<string, HexExample>();
  for (const { info, text } of blocks(page)) {
    const [language, name] = info.split(" ");
    if (language !== "hex") continue;
    if (name === undefined || examples.has(name)) throw new Error(`Example "${info}" needs a name`);
    examples.set(name, readExample(name, text));
  }
  return examples;
}

function readExample(name: string, text: string): HexExample {
  const bytes: number[] = [];
  const frames: string[] = [];
  for (const line of text.trimEnd().split("\n")) {
    const [, hex, comment] = lineShape.exec(line) ?? [];
    if (hex === undefined || comment === undefined) throw new Error(`${name}: no example: ${line}`);
    const piece = Uint8Array.from(hex.split(" "), (byte) => parseInt(byte, 16));
    const found = meaning(piece, comment);
    if (found !== comment) throw new Error(`${name}: ${line}\nis ${found}`);
    if (comment.includes(", stream ")) frames.push(comment);
    bytes.push(...piece);
  }
  return { bytes: Uint8Array.from(bytes), frames };
}

/** What the bytes of a line are, in the form that its comment has. */
function meaning(bytes: Uint8Array, comment: string): string {
  if (comment.startsWith("|")) return `|${asciiOf(bytes)}|`;
  if (comment.includes(", stream ") && bytes.length === headerBytes) {
    return `${frameName(bytes[0]!)}, stream ${readUint32(bytes, 1)}`;
  }
  const number = /^(length|target length|credit) \d+$/.exec(comment);
  if (number && bytes.length === (number[1] === "target length" ? 2 : 4)) {
    return `${number[1]} ${bytes.reduce((value, byte) => value * 256 + byte, 0)}`;
  }
  // The layer below, which its own test reads.
  return ["WebSocket header", "masked payload"].includes(comment) ? comment : "nothing known";
}

function asciiOf(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes).replaceAll(/[^\x20-\x7e]/g, ".");
}
