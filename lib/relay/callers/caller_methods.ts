/**
 * The ways in which callers prove who they are. A new one is an entry here, which says what the rest
 * of the relay has to know of it, and a reader in `callers.ts`, which finds its callers.
 */
import { type Field, field } from "../../http1/head.ts";
import { withoutOwnCookies } from "../relay_cookies.ts";
import { bearerProtocol } from "./credential.ts";

/** What has to be known of a way, whoever came by it. */
export interface CallerMethod {
  /**
   * Whether browsers attach its credential to requests of any page (the default): such callers' requests
   * are looked at for the page that they come from.
   */
  readonly isAmbient?: boolean;
  /** Whether its callers have no name of their own, which a log would repeat on every line. */
  readonly isAnonymous?: boolean;
  /**
   * A field of a request without this way's credential, or nothing if there is nothing left. It is
   * called for every request, by whichever way its caller came.
   *
   * @param folded The field's name as `foldedName` has it.
   */
  readonly strip?: (item: Field, folded: string) => Field | undefined;
}

/** A bearer token: no browser sends it unless the page's own script has it. */
const bearer: CallerMethod = { isAmbient: false, strip: withoutBearer };

/** The ways, by the kind of caller that they make. */
export const callerMethods = {
  token: bearer,
  jwt: bearer,
  /** A token that `access` was given when somebody signed in for it. */
  access: bearer,
  /** A client certificate, which the browser shows on every connection. */
  certificate: {},
  /** A JWT that a proxy in front adds, to requests of any page that its user opens. */
  edge: {},
  /** A cookie of a session in which somebody signed in. */
  session: { strip: withoutOwnCookies },
  /** Nothing is known of the caller but that it reached the listener. */
  network: { isAnonymous: true },
} as const satisfies Record<string, CallerMethod>;

/** What a caller proved itself with. */
export type CallerKind = keyof typeof callerMethods;

/** Whether a text names a kind of caller. */
export function isCallerKind(text: string): text is CallerKind {
  return Object.hasOwn(callerMethods, text);
}

/** Whether browsers attach the credential of such callers by themselves. */
export function isAmbient(kind: CallerKind): boolean {
  const method: CallerMethod = callerMethods[kind];
  return method.isAmbient ?? true;
}

/** Whether such callers have no name of their own. */
export function isAnonymous(kind: CallerKind): boolean {
  const method: CallerMethod = callerMethods[kind];
  return method.isAnonymous ?? false;
}

const strips = [
  ...new Set(
    Object.values<CallerMethod>(callerMethods).flatMap(({ strip }) => strip ? [strip] : []),
  ),
];

/**
 * A field of a request without any caller's credential, or nothing if there is nothing left.
 *
 * @param folded The field's name as `foldedName` has it.
 */
export function withoutCredential(item: Field, folded: string): Field | undefined {
  let kept: Field | undefined = item;
  for (const strip of strips) kept = kept && strip(kept, folded);
  return kept;
}

/** The agent puts in its own `Authorization`. */
function withoutBearer(item: Field, folded: string): Field | undefined {
  if (folded === "authorization" || folded === "culvert-authorization") return undefined;
  if (item.key !== "sec-websocket-protocol" || !item.value.includes(bearerProtocol)) return item;
  const protocols = item.value.split(",").map((protocol) => protocol.trim());
  const kept = protocols.filter((protocol) => !protocol.startsWith(bearerProtocol));
  return kept.length > 0 ? field(item.name, kept.join(", ")) : undefined;
}
