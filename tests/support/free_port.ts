/**
 * Ports for what can't be told to listen on port 0. They lie below those that systems give out by
 * themselves (from 32768 on Linux, from 49152 elsewhere): no other test's listener, and no connection
 * that anybody opens, gets one of them in the meantime.
 */

/** First and last of the ports that something will listen on. */
const forListeners = [20_000, 32_767] as const;
/** Of those that nobody must listen on: others, or a listener would come to stand there. */
const forNobody = [10_000, 19_999] as const;

/** A port of loopback that nobody listens on, for a listener that starts soon. */
export function freePort(): number {
  return freeOf(forListeners);
}

/** A port of loopback that nobody listens on, and nobody will. */
export function refusingPort(): number {
  return freeOf(forNobody);
}

function freeOf([first, last]: readonly [number, number]): number {
  while (true) {
    const port = first + Math.floor(Math.random() * (last - first + 1));
    if (isFree(port)) return port;
  }
}

function isFree(port: number): boolean {
  try {
    using _listener = Deno.listen({ hostname: "127.0.0.1", port });
    return true;
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    return false;
  }
}
