/** A request or connection that is under way, as the status shows it. */
import type { RequestHead } from "../../http1/head.ts";
import type { Peer, Progress } from "../../net/exchange.ts";
import type { Registration } from "../agents/registry.ts";
import type { Caller } from "../callers/caller.ts";
import type { Route } from "../route.ts";

/** A `RequestContext` is one. */
export interface UnderWay {
  /** Tells it from all others of this relay. */
  readonly number: number;
  readonly requestId: string;
  readonly route: Route;
  readonly caller: Caller | undefined;
  readonly source: {
    readonly head: Pick<RequestHead, "method" | "minor" | "fields">;
    readonly peer: Peer;
    progress?(): Progress;
  };
  /** What it has carried, where its source does not know. */
  readonly carried: Progress | undefined;
  /** The session that it goes through, if this relay has it. */
  readonly registration: Registration | undefined;
  /** When it came, in milliseconds since 1970. */
  readonly sinceMs: number;
  /** Ends it. @param code for the log, why */
  revoke(code: string): void;
}
