/** The whole of a relay's answer, as `node:http` has it. */
import type { IncomingMessage } from "node:http";
import type { Answer } from "../../../access/service_error.ts";

/** What is read of a body. */
const maxBodyBytes = 1024 * 1024;

/** Reads an answer; a body that is too long, or cut, is as much of it as came. */
export async function readAnswer(response: IncomingMessage, signal: AbortSignal): Promise<Answer> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const decoder = new TextDecoder();
  let body = "";
  const done = (): void => resolve();
  response.on("data", (piece: Uint8Array) => {
    body += decoder.decode(piece, { stream: true });
    if (body.length > maxBodyBytes) resolve();
  });
  for (const event of ["end", "error", "close"]) response.on(event, done);
  signal.addEventListener("abort", done);
  if (signal.aborted) resolve();
  await promise;
  signal.removeEventListener("abort", done);
  return { status: response.statusCode ?? 0, headers: response.headers, body };
}
