/** Reads what came with a relay's refusal: its words, and when to try again. */
import type { IncomingMessage } from "node:http";
import { concat, noBytes } from "../../bytes/bytes.ts";
import type { RefusalDetails } from "../../agent/relay_errors.ts";

/** What is read of an answer's body, and what of it is shown. */
const maxBodyBytes = 1_024;
const maxShownCharacters = 200;
/** A body that takes longer tells nothing. */
const bodyTimeoutMs = 2_000;

/** Ends the answer's connection. */
export async function readRefusal(
  response: IncomingMessage,
  signal: AbortSignal,
): Promise<RefusalDetails> {
  const retryAfter = response.headers["retry-after"];
  const body = await readBody(response, signal);
  return {
    // The page that something else answers with says less than the advice for 404.
    answer: response.statusCode === 404 ? undefined : lineOf(response, body),
    retryAfterMs: /^\d{1,6}$/.test(retryAfter ?? "") ? Number(retryAfter) * 1_000 : undefined,
  };
}

function readBody(response: IncomingMessage, signal: AbortSignal): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let body: Uint8Array = noBytes;
  const timer = setTimeout(resolve, bodyTimeoutMs);
  const done = (): void => resolve();
  signal.addEventListener("abort", done);
  response.on("data", (chunk: Uint8Array) => {
    body = concat(body, chunk);
    if (body.length > maxBodyBytes) resolve();
  });
  for (const event of ["end", "error", "close"]) response.on(event, done);
  if (signal.aborted) resolve();
  return promise.then(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", done);
    response.destroy();
    return new TextDecoder().decode(body.subarray(0, maxBodyBytes));
  });
}

/** The first line of a plain text; pages for browsers have no line that fits a log. */
function lineOf(response: IncomingMessage, body: string): string | undefined {
  if (!/^text\/plain\b/i.test(response.headers["content-type"] ?? "")) return undefined;
  const [line = ""] = body.trim().split(/[\r\n]/, 1);
  const shown = line.replace(/[^\x20-\x7e]/g, "?").slice(0, maxShownCharacters);
  return shown === "" ? undefined : shown;
}
