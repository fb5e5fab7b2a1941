/** A request to the admin API, as what answers it sees it. */
import type { Exchange } from "../net/exchange.ts";
import type { Scope } from "./scope.ts";

/** A request to the API, and whose it is. */
export interface ApiRequest {
  readonly exchange: Exchange;
  readonly scope: Scope;
  readonly requestId: string;
  readonly param: (name: string) => string;
  readonly query: (name: string) => string | undefined;
  /** Whether its token is still valid with the same scope; long requests ask again. */
  readonly isStillAllowed: () => boolean;
}

/** Answers one. */
export type Handler = (request: ApiRequest) => Promise<void>;

/** Adds a path of the API. */
export type On = (method: string, path: string, handler: Handler) => void;
