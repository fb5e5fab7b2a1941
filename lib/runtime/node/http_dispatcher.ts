/** Gives requests to an app, and sends its responses. */
import { dateField } from "../../http1/date.ts";
import { type Field, field } from "../../http1/head.ts";
import { AppRequest } from "../../net/app_request.ts";
import type { Exchange } from "../../net/exchange.ts";
import type { MessageSocket } from "../../protocol/socket.ts";
import type { WebSocketAnswer } from "../../relay/env.ts";

/** Completes a WebSocket's handshake. */
export type AcceptWebSocket = (answer?: WebSocketAnswer) => Promise<MessageSocket>;

/** What a listener lends to its app with each request. */
export interface NodeBindings {
  exchange: Exchange;
  readonly acceptWebSocket: AcceptWebSocket;
  alreadyAnswered: Response;
}

/** An app: Hono's `fetch`. */
export type AppFetch = (request: Request, bindings: NodeBindings) => Response | Promise<Response>;

/** Returned by handlers that answer through the exchange. It is compared, never sent. */
const alreadyAnswered = new Response(null);

/** No literal, for the reason that `ExchangeForwarder` gives. */
class Bindings implements NodeBindings {
  readonly exchange: Exchange;
  readonly acceptWebSocket: AcceptWebSocket;
  readonly alreadyAnswered = alreadyAnswered;

  constructor(exchange: Exchange, acceptWebSocket: AcceptWebSocket) {
    this.exchange = exchange;
    this.acceptWebSocket = acceptWebSocket;
  }
}

/** Calls an app for each request. */
export class HttpDispatcher {
  readonly #fetch: AppFetch;
  readonly #fault: (error: unknown) => void;

  /** @param fault A handler threw: a bug, for the log. */
  constructor(fetch: AppFetch, fault: (error: unknown) => void) {
    this.#fetch = fetch;
    this.#fault = fault;
  }

  /** Has the app answer a request; it is answered in the end, whatever happens. */
  dispatch(exchange: Exchange, acceptWebSocket: AcceptWebSocket): void {
    const bindings = new Bindings(exchange, acceptWebSocket);
    try {
      const request = new AppRequest(exchange) as unknown as Request;
      const response = this.#fetch(request, bindings);
      if (response === alreadyAnswered) return;
      Promise.resolve(response).then((response) => send(exchange, response)).catch((error) =>
        this.#failed(exchange, error)
      );
    } catch (error) {
      this.#failed(exchange, error);
    }
  }

  #failed(exchange: Exchange, error: unknown): void {
    this.#fault(error);
    if (exchange.isAnswered) exchange.abort();
    else exchange.answer(500, "Internal Server Error", [dateField()], new Uint8Array(0));
  }
}

/** Sends a handler's own response; those are small and have come whole. */
async function send(exchange: Exchange, response: Response): Promise<void> {
  if (response === alreadyAnswered) return;
  const body = new Uint8Array(await response.arrayBuffer());
  const fields: Field[] = [];
  for (const [name, value] of response.headers) fields.push(field(name, value));
  fields.push(dateField());
  exchange.answer(response.status, response.statusText || reasonOf(response.status), fields, body);
}

const reasons: Record<number, string> = {
  200: "OK",
  401: "Unauthorized",
  403: "Forbidden",
  429: "Too Many Requests",
  404: "Not Found",
  426: "Upgrade Required",
  503: "Service Unavailable",
};

function reasonOf(status: number): string {
  return reasons[status] ?? "";
}
