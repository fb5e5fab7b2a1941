/** The relay's edge app under `Deno.serve`, as on Deno Deploy. */
import { type FetchApp, serveFetch } from "../../net/fetch_server.ts";

/** A handler for `Deno.serve`. `fault` is told when the app threw: a bug, for the log. */
export function denoHandler(
  app: FetchApp,
  fault: (error: unknown) => void,
): (request: Request, info: Deno.ServeHandlerInfo) => Promise<Response> {
  return function handle(request, { remoteAddr }) {
    const address = "hostname" in remoteAddr ? remoteAddr.hostname : "";
    return serveFetch(request, {
      app,
      fault,
      peer: { address, isTls: request.url.startsWith("https:") },
      host: {
        copiesOnSend: true,
        upgrade: (protocol) => Deno.upgradeWebSocket(request, protocol ? { protocol } : {}),
      },
    });
  };
}
