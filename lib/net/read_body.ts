/** A request's body as a whole, up to a limit. */
import type { Exchange } from "./exchange.ts";

/** Why there is no body. */
export type BodyFault = "too_large" | "cut";

/** Reads a body. @returns its bytes, or why there are none: more than `maxBytes`, or an end too early */
export function readBody(exchange: Exchange, maxBytes: number): Promise<Uint8Array | BodyFault> {
  const { promise, resolve } = Promise.withResolvers<Uint8Array | BodyFault>();
  const pieces: Uint8Array[] = [];
  let length = 0;
  exchange.onAborted = () => resolve("cut");
  exchange.readBody({
    data(bytes) {
      length += bytes.length;
      if (length > maxBytes) {
        pieces.length = 0;
        return resolve("too_large");
      }
      pieces.push(bytes.slice());
    },
    end: () => resolve(joined(pieces, length)),
  });
  return promise;
}

function joined(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
