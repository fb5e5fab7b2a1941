/** Serves an app's requests where a platform listens, and hands over a `Request` for a `Response`. */
import { HeadError } from "../http1/head.ts";
import { fromWebSocket, type MessageSocket } from "../protocol/socket.ts";
import { AppRequest } from "./app_request.ts";
import { errorBody } from "./error_body.ts";
import type { Exchange, Peer } from "./exchange.ts";
import { FetchExchange } from "./fetch_exchange.ts";
import type { FetchHost } from "./fetch_host.ts";

/** What a request's app is lent. */
export interface FetchBindings {
  exchange: Exchange;
  acceptWebSocket(answer?: { readonly protocol?: string }): Promise<MessageSocket>;
  alreadyAnswered: Response;
}

/** An app: Hono's `fetch`. */
export type FetchApp = (
  request: Request,
  bindings: FetchBindings,
) => Response | Promise<Response>;

/** What a request is served with. */
export interface FetchServing {
  readonly app: FetchApp;
  readonly peer: Peer;
  readonly host: FetchHost;
  /** A handler threw: a bug, for the log. */
  readonly fault: (error: unknown) => void;
}

/** Returned by handlers that answer through the exchange. It is compared, never sent. */
const alreadyAnswered = new Response(null);

/** Has the app answer a request. */
export async function serveFetch(request: Request, serving: FetchServing): Promise<Response> {
  let exchange: FetchExchange;
  try {
    const { peer, host, fault } = serving;
    exchange = await FetchExchange.of(request, peer, { fault, ...host });
  } catch (error) {
    if (!(error instanceof HeadError)) throw error;
    return refusal(error.status, error.message);
  }
  // A handler may go on after its answer has begun: an agent's session does.
  return await Promise.race([handle(exchange, serving), exchange.response]);
}

async function handle(
  exchange: FetchExchange,
  { app, host, fault }: FetchServing,
): Promise<Response> {
  const bindings: FetchBindings = {
    exchange,
    acceptWebSocket: async (answer) =>
      fromWebSocket(await exchange.acceptWebSocket(answer?.protocol), host),
    alreadyAnswered,
  };
  try {
    const response = await app(new AppRequest(exchange) as unknown as Request, bindings);
    return response === alreadyAnswered ? await exchange.response : response;
  } catch (error) {
    fault(error);
    exchange.abort();
    return refusal(500, "The relay failed");
  }
}

function refusal(status: number, message: string): Response {
  const headers = { "Content-Type": "application/json", "Cache-Control": "no-store" };
  const body = errorBody(status, "bad_request", message) as Uint8Array<ArrayBuffer>;
  return new Response(body, { status, headers });
}
