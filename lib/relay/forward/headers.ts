/** What of a request's head enters the tunnel, and what of a response's head reaches the caller. */
import { endToEnd } from "../../http1/fields.ts";
import { foldedName } from "../../http1/folded_name.ts";
import { viaField, withForwardCounted } from "../../http1/hops.ts";
import {
  type Field,
  field,
  getField,
  type RequestHead,
  type ResponseHead,
} from "../../http1/head.ts";
import type { Framing } from "../../http1/body.ts";
import type { Peer } from "../../net/exchange.ts";
import { isAccessToken } from "../callers/credential.ts";
import { withoutCredential } from "../callers/caller_methods.ts";
import { withoutOwnCookies } from "../relay_cookies.ts";
import { isForwardingField } from "./forwarding_fields.ts";
import { hopKeys } from "./hop_names.ts";
import { type Span, withTrace } from "../../trace.ts";
import type { RequestRules } from "../route.ts";
import { requestIdLine } from "./request_id.ts";

/** Fields that the relay sets itself: what a caller says in them is not believed. */
const ownFields = new Set([
  // It is the caller's if that was a safe one, see request_id.ts.
  "x-request-id",
  // Between relays only.
  ...hopKeys,
]);

/**
 * Fields that frame a message, which an application must not find a second time under a name that
 * folds to theirs.
 */
const framingFields = new Set([
  ...["host", "content-length", "transfer-encoding", "connection", "upgrade", "trailer", "te"],
  ...["proxy-authorization", "sec-websocket-protocol"],
]);

/** How a target is addressed, and what it gets to see. */
export interface TargetView {
  /** Its own `Host`. */
  readonly host: string;
  /** Where the caller sees the target's root, for applications that build their own links. */
  readonly prefix?: string | undefined;
  readonly rules: RequestRules;
  /** Whether the target is to take its own host for the public one: `Origin` is changed to match. */
  readonly hidesPublicHost?: boolean;
}

/** What the head of a tunnelled request depends on besides the caller's. */
export interface ForwardContext {
  target: TargetView;
  /** What the target is told about the caller, and which of the caller's own fields it must not get. */
  identity?: { readonly fields: readonly Field[]; readonly hides: readonly string[] } | undefined;
  peer: Peer;
  framing: Framing;
  requestId: string;
  /** The relay's span of the request, if it has one. */
  span?: Span | undefined;
  /** Names this relay in `Via`. */
  via: string;
  /** The protocol that the caller wants to change to. */
  upgrade: string | undefined;
  /** A version 1 agent reads its target until it closes, so the target is asked to. */
  closesConnection: boolean;
}

/** The fields of a request as it enters the tunnel: the caller's order and spelling, our framing. */
export function forwardedFields(head: RequestHead, context: ForwardContext): Field[] {
  const fields: Field[] = [];
  const host = getField(head.fields, "host");
  // HTTP/1.0 knows requests without one; ours is HTTP/1.1, where it must be.
  if (host === undefined) fields.push(field("Host", context.target.host));
  const passed = withForwardCounted(head, endToEnd(head.fields));
  for (const item of withTrace(passed, context.span)) {
    const kept = forwardedField(item, context.target);
    if (kept && !isHidden(kept, context)) fields.push(originFor(kept, host, context.target));
  }
  if (context.identity) fields.push(...context.identity.fields);
  if (context.framing.kind === "chunked") fields.push(field("Transfer-Encoding", "chunked"));
  fields.push(field("X-Forwarded-For", context.peer.address));
  fields.push(field("X-Forwarded-Proto", context.peer.isTls ? "https" : "http"));
  const publicHost = context.peer.forwardedHost ?? host;
  if (publicHost) fields.push(field("X-Forwarded-Host", publicHost));
  const { prefix } = context.target;
  if (prefix !== undefined) fields.push(field("X-Forwarded-Prefix", prefix));
  fields.push(requestIdLine(context.requestId), viaField(head, context.via));
  if (context.upgrade !== undefined) {
    fields.push(field("Connection", "Upgrade"), field("Upgrade", context.upgrade));
  } else if (context.closesConnection) {
    fields.push(field("Connection", "close"));
  }
  return fields;
}

function isHidden({ key }: Field, { identity }: ForwardContext): boolean {
  return identity !== undefined && identity.hides.length > 0 &&
    identity.hides.includes(foldedName(key));
}

/** Puts the target's host into the service's `Origin`. The scheme stays: only the agent knows the target's. */
function originFor(item: Field, publicHost: string | undefined, target: TargetView): Field {
  if (!target.hidesPublicHost || item.key !== "origin" || publicHost === undefined) return item;
  const origin = /^(https?):\/\/(.+)$/i.exec(item.value);
  if (origin?.[2]?.toLowerCase() !== publicHost.toLowerCase()) return item;
  return field(item.name, `${origin[1]}://${target.host}`);
}

function forwardedField(item: Field, { host, rules }: TargetView): Field | undefined {
  const kept = relayedField(item, rules);
  if (!kept) return undefined;
  if (kept.key === "host") return rules.host === "public" ? kept : field(kept.name, host);
  if (!isImpersonation(foldedName(kept.key))) return kept;
  // Under any other spelling than its own the API server ignores it, and an application might not.
  const isOwnSpelling = kept.key.startsWith(impersonationPrefix);
  return rules.impersonation === "forward" && isOwnSpelling ? kept : undefined;
}

/** A field on its way to another relay, which applies the target's other rules itself. */
export function relayedField(
  item: Field,
  { authorization }: Pick<RequestRules, "authorization">,
): Field | undefined {
  const folded = foldedName(item.key);
  if (ownFields.has(folded) || isForwardingField(folded)) return undefined;
  if (folded !== item.key && framingFields.has(folded)) return undefined;
  // The app reads bearers, and never a cookie or token of the relay's.
  if (authorization === "culvert") return withoutCredential(item, folded);
  return isAccessToken(item) ? undefined : withoutOwnCookies(item);
}

const impersonationPrefix = "impersonate-";

function isImpersonation(folded: string): boolean {
  return folded.startsWith(impersonationPrefix);
}

/** Whether a request asks the target to act for somebody else, as `kubectl --as` does. */
export function impersonates({ fields }: RequestHead): boolean {
  return fields.some(({ key }) => isImpersonation(foldedName(key)));
}

/**
 * The fields of a response on its way to the caller, without those of the hop behind. The request's
 * id is added to the final response by its exchange; a second one, of the target's, would be a riddle.
 */
export function returnedFields(head: ResponseHead): Field[] {
  // RFC 9110 section 8.6: these have no length, and a caller that believed one would wait for it.
  const hasLength = head.status >= 200 && head.status !== 204;
  return endToEnd(head.fields).filter(({ key }) =>
    key !== "x-request-id" && (hasLength || key !== "content-length")
  );
}
