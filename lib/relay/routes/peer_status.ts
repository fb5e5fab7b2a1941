/** `/.culvert/status` on the internal listener: what this relay shows the others, and ends for them. */
import type { Context } from "hono";
import { field, getField } from "../../http1/head.ts";
import type { Exchange } from "../../net/exchange.ts";
import type { RelayEnv } from "../env.ts";
import { answerError } from "../error_response.ts";
import { noSuchPath } from "../request_errors.ts";
import { hopNames } from "../forward/hop_names.ts";
import type { Relay } from "../relay.ts";
import { everything } from "../status/scope.ts";

/** The path, for relays that ask. */
export const peerStatusPath = "/.culvert/status";

/** Handles it. Who does not know the relays' token is told that there is nothing. */
export function peerStatusHandler(relay: Relay): (c: Context<RelayEnv>) => Response {
  return ({ env: { exchange, alreadyAnswered }, req }) => {
    const given = getField(exchange.head.fields, hopNames.token.toLowerCase());
    if (given === undefined || relay.peers?.tokens.accepts(given) !== true) {
      answerError(exchange, noSuchPath);
      return alreadyAnswered;
    }
    const [kind, id, by] = ["kind", "id", "by"].map((name) => req.query(name) ?? "");
    if (exchange.head.method === "POST") {
      const hasEnded = kind === "agents"
        ? relay.status.disconnectHere(id!, by!, everything)
        : relay.status.endHere(id!, by!, everything);
      answerJson(exchange, { hasEnded });
    } else answerJson(exchange, relay.status.now());
    return alreadyAnswered;
  };
}

function answerJson(exchange: Exchange, value: unknown): void {
  const body = new TextEncoder().encode(JSON.stringify(value));
  exchange.answer(200, "OK", [field("Content-Type", "application/json")], body);
}
