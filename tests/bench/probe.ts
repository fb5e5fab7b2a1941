/** Finding out whether a server is there. */
import type { Subprocess } from "./subprocess.ts";
import { poll } from "./wait.ts";

/** How long a program may take to answer its first request; a cold cache compiles everything. */
const START_TIMEOUT_MS = 60_000;

/**
 * Waits until a GET of `url` is answered with 2xx. Throws the last words of a program in
 * `processes` that ends meanwhile. `ca` is the PEM text of the authority to trust.
 */
export async function waitUntilAnswers(
  url: string,
  processes: readonly Subprocess[],
  signal: AbortSignal,
  ca?: string,
): Promise<void> {
  using client = Deno.createHttpClient(ca === undefined ? {} : { caCerts: [ca] });
  let failure = "";
  await poll(async () => {
    for (const process of processes) await process.throwIfEnded();
    failure = await attempt(url, client, signal);
    return failure === "" ? true : undefined;
  }, {
    what: () => `an answer from ${url} (last attempt: ${failure})`,
    timeoutMs: START_TIMEOUT_MS,
    signal,
  });
}

/** "" when `url` answers with 2xx, else what happened. */
async function attempt(url: string, client: Deno.HttpClient, signal: AbortSignal): Promise<string> {
  try {
    const response = await fetch(url, { client, signal });
    await response.body?.cancel();
    return response.ok ? "" : `status ${response.status}`;
  } catch (error) {
    if (signal.aborted || !(error instanceof Error)) throw error;
    return error.message; // nobody listens yet
  }
}
