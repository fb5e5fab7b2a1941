/** A request's body as a whole, within limits. */
import type { ByteBudget } from "../bytes/byte_budget.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Why there is no body: it is larger than `maxBytes`, the caller has gone, it has not come in time, or
 * other bodies use the budget.
 */
export type BodyFault = "too_large" | "cut" | "too_slow" | "no_room";

/** What one body may take. */
export interface BodyLimits {
  readonly maxBytes: number;
  /** How long reading may take, up to the body's last byte, in milliseconds. */
  readonly timeoutMs: number;
  /** Shared with other bodies. Whoever gets a body gives its length back when it is done with it. */
  readonly budget?: ByteBudget;
}

/** Reads a body. @returns its bytes, or why there are none */
export function readBody(
  exchange: Exchange,
  { maxBytes, timeoutMs, budget }: BodyLimits,
): Promise<Uint8Array | BodyFault> {
  const { promise, resolve } = Promise.withResolvers<Uint8Array | BodyFault>();
  const pieces: Uint8Array[] = [];
  let length = 0;
  let isOver = false;
  const settle = (result: Uint8Array | BodyFault): void => {
    isOver = true;
    clearTimeout(timer);
    pieces.length = 0;
    if (typeof result === "string") budget?.giveBack(length);
    resolve(result);
  };
  const fail = (fault: BodyFault): void => {
    if (!isOver) settle(fault);
  };
  const timer = setTimeout(() => fail("too_slow"), timeoutMs);
  exchange.onAborted = () => fail("cut");
  exchange.readBody({
    data(bytes) {
      // What comes behind a fault is thrown away.
      if (isOver) return;
      if (length + bytes.length > maxBytes) return fail("too_large");
      if (budget && !budget.take(bytes.length)) return fail("no_room");
      length += bytes.length;
      pieces.push(bytes.slice());
    },
    end() {
      if (!isOver) settle(joined(pieces, length));
    },
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
