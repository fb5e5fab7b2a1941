/** What a runtime lends to the relay's apps. */
import type { Exchange } from "../net/exchange.ts";
import type { ServiceRoute } from "./route.ts";
import type { Field } from "../http1/head.ts";
import type { MessageSocket } from "../protocol/socket.ts";

/** How a WebSocket's handshake is answered. */
export interface WebSocketAnswer {
  /** The subprotocol, one of those that were offered; none without it. */
  readonly protocol?: string;
  /** Further fields of the 101, where the platform lets them be set. */
  readonly fields?: readonly Field[];
}

/** What a runtime lends to the app with each request. */
export interface RelayBindings {
  /** The request as it came and the way to its answer, without a detour over `Request` and `Response`. */
  exchange: Exchange;
  /** The service whose host the request asked for, at culvert's own paths below `/.culvert/`. */
  service?: ServiceRoute;
  /** Completes the WebSocket handshake of this request. */
  acceptWebSocket(answer?: WebSocketAnswer): Promise<MessageSocket>;
  /** What a handler returns that answers through the exchange itself. */
  alreadyAnswered: Response;
}

/** Hono's type parameter for the apps. */
export interface RelayEnv {
  Bindings: RelayBindings;
}
