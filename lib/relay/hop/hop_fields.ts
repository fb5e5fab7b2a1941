/**
 * Header fields between two relays. They are no part of what a caller may say and never enter the
 * tunnel (`headers.ts` drops them).
 */
import { endToEnd, requestedUpgrade } from "../../http1/fields.ts";
import { foldedName } from "../../http1/folded_name.ts";
import { viaField, withForwardCounted } from "../../http1/hops.ts";
import {
  encodeRequestHead,
  type Field,
  field,
  getField,
  type HeadLimits,
  type RequestHead,
  type ResponseHead,
} from "../../http1/head.ts";
import type { Exchange, Peer } from "../../net/exchange.ts";
import type { Caller } from "../callers/caller.ts";
import { isPrintableName } from "../../domain/printable_name.ts";
import { clusterRouteOf, type Route } from "../route.ts";
import { isCallerKind } from "../callers/caller_methods.ts";
import { type CallerIdentity, noIdentity } from "../people/identities.ts";
import { decodeIdentity, encodeIdentity } from "./hop_identity.ts";
import { anyName } from "../../domain/name_patterns.ts";
import { notHere } from "../availability_errors.ts";
import { answerError } from "../error_response.ts";
import { relayedField } from "../forward/headers.ts";
import { type Span, withTrace } from "../../trace.ts";
import { requestIdLine } from "../forward/request_id.ts";
import { hopKeys, hopNames as names } from "../forward/hop_names.ts";
import type { RelayTokens } from "./relay_tokens.ts";
import {
  encodeClusterRoute,
  encodeServiceRoute,
  type HopRoute,
  identityHopTarget,
  readClusterRoute,
  readServiceRoute,
  serviceHopTarget,
} from "./service_route.ts";

/** Values of `Culvert-Hop` in an answer. */
export const hopAnswer = {
  /** The value in an interim 102: the session is here and gets the request, and the final response follows. */
  accepted: "accepted",
  /** The value in a 421: there is no such session here, and nothing was done with the request. */
  notHere: "not-here",
} as const;

/** Limits for heads between relays: what a head gains on its way must not make it too long. */
export function withHopSlack({ maxBytes, maxFields }: HeadLimits): HeadLimits {
  return { maxBytes: maxBytes + slack.maxBytes, maxFields: maxFields + slack.maxFields };
}

/** More than the fields between relays measure; what is told about a caller is the longest. */
const slack: HeadLimits = { maxBytes: 32 * 1024, maxFields: 13 };

/** Who forwards a request, and for whom. */
export interface Hop {
  /** The relay that forwards it. */
  readonly relay: string;
  /** Where the first relay's caller is. */
  readonly peer: Peer;
  /** Who that is, as the first relay has found. */
  readonly caller: Caller;
  /** What agent and target are told about the caller. */
  readonly identity: CallerIdentity;
  /** Where the request goes, as the first relay has found. */
  readonly route: Route;
  /** Whether it is only for an agent that serves the route; otherwise any may refuse it. */
  readonly isSelective: boolean;
}

/**
 * Reads the mark of a forwarded request.
 *
 * @returns nothing for a caller's own request; "forged" for a mark without a token of the relays', or one
 * that no relay writes.
 */
export function readHop(head: RequestHead, tokens: RelayTokens): Hop | "forged" | undefined {
  const marks = head.fields.filter(({ key }) => hopKeys.has(key));
  if (marks.length === 0) return undefined;
  const hop = single(marks, names.hop);
  const given = single(marks, names.token);
  const address = single(marks, names.address);
  const proto = single(marks, names.proto);
  if (given === undefined || !tokens.accepts(given)) return "forged";
  const caller = readCaller(marks);
  const route = readRoute(head, marks);
  const identity = readIdentity(marks);
  if (!hop || address === undefined || !caller || !identity || !route) return "forged";
  if (proto !== "http" && proto !== "https") return "forged";
  if (head.target === identityHopTarget && !identity.impersonation) return "forged";
  const peer = { address, isTls: proto === "https" };
  return { relay: hop, peer, caller, identity, ...route };
}

/**
 * A cluster's route stands in the request target, as relays have it that know no services. A service's
 * is in fields of its own, and the target is a path at which those have nothing.
 */
function readRoute(head: RequestHead, marks: readonly Field[]): HopRoute | undefined {
  const service = single(marks, names.route);
  const path = single(marks, names.path);
  if (service === undefined && path === undefined) {
    const route = clusterRouteOf(head.target);
    return route && { route, isSelective: false };
  }
  if (service === undefined || path === undefined) return undefined;
  if (head.target === serviceHopTarget) return readServiceRoute(service, path);
  if (head.target !== identityHopTarget) return undefined;
  return readServiceRoute(service, path) ?? readClusterRoute(service, path);
}

/** Absent where nothing is told; undefined for what no relay writes. */
function readIdentity(marks: readonly Field[]): CallerIdentity | undefined {
  const key = names.identity.toLowerCase();
  if (!marks.some((mark) => mark.key === key)) return noIdentity;
  const encoded = single(marks, names.identity);
  return encoded === undefined ? undefined : decodeIdentity(encoded);
}

/** The first relay has looked whether the caller may reach the cluster. */
function readCaller(marks: readonly Field[]): Caller | undefined {
  const kind = single(marks, names.kind);
  const encoded = single(marks, names.name);
  if (kind === undefined || !isCallerKind(kind) || encoded === undefined) return undefined;
  const name = decodeName(encoded);
  return name === undefined ? undefined : { kind, name, clusters: anyName };
}

/** A caller's name as a header's value: it is printable, and need not be ASCII. */
function decodeName(encoded: string): string | undefined {
  try {
    const name = decodeURIComponent(encoded);
    return isPrintableName(name) ? name : undefined;
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
}

function single(fields: readonly Field[], name: string): string | undefined {
  const found = fields.filter(({ key }) => key === name.toLowerCase());
  return found.length === 1 ? found[0]!.value : undefined;
}

/** Callers' credentials never leave the first relay. */
const clusterRules = { authorization: "culvert" } as const;

/** What the other relay is told besides the request. */
export interface HopFrom {
  /** Names this relay. */
  readonly relay: string;
  /** Names it in `Via`. */
  readonly via: string;
  /** The relays' shared credential. */
  readonly token: string;
  readonly requestId: string;
  readonly caller: Caller;
  readonly identity: CallerIdentity;
  /** This relay's span of the request, if it has one. */
  readonly span?: Span | undefined;
  /** Whether the request is only for an agent that serves the route. */
  readonly isSelective: boolean;
}

/**
 * The head of a request for another relay: the caller's, without credentials, with its own `Host`,
 * which becomes `X-Forwarded-Host` there.
 */
export function encodeHopRequest(
  { head, framing, peer }: Pick<Exchange, "head" | "framing" | "peer">,
  route: Route,
  from: HopFrom,
): Uint8Array {
  const upgrade = requestedUpgrade(head);
  const fields: Field[] = [];
  const rules = route.kind === "service" ? route.rules : clusterRules;
  // HTTP/1.0 knows requests without one; to the other relay ours is HTTP/1.1, where it must be.
  if (getField(head.fields, "host") === undefined) fields.push(field("Host", ""));
  const passed = withForwardCounted(head, endToEnd(head.fields));
  for (const item of withTrace(passed, from.span)) {
    const kept = relayedField(item, rules);
    // The other relay hides them as well, unless it is older.
    if (!kept || from.identity.hides.includes(foldedName(kept.key))) continue;
    fields.push(kept.key === "host" ? hostOf(kept, peer) : kept);
  }
  if (framing.kind === "chunked") fields.push(field("Transfer-Encoding", "chunked"));
  fields.push(
    viaField(head, from.via),
    requestIdLine(from.requestId),
    field(names.hop, from.relay),
    field(names.token, from.token),
    field(names.address, peer.address),
    field(names.proto, peer.isTls ? "https" : "http"),
    field(names.kind, from.caller.kind),
    field(names.name, encodeURIComponent(from.caller.name)),
  );
  if (from.identity !== noIdentity) {
    fields.push(field(names.identity, encodeIdentity(from.identity)));
  }
  if (upgrade !== undefined) {
    fields.push(field("Connection", "Upgrade"), field("Upgrade", upgrade));
  }
  const impersonates = from.identity.impersonation !== undefined;
  if (route.kind === "cluster" && !impersonates) {
    return encodeRequestHead(head.method, `/tunnel/${route.cluster}${route.path}`, fields);
  }
  const encoded = route.kind === "cluster"
    ? encodeClusterRoute(route)
    : encodeServiceRoute({ route, isSelective: from.isSelective });
  fields.push(field(names.route, encoded), field(names.path, route.path));
  const target = impersonates ? identityHopTarget : serviceHopTarget;
  return encodeRequestHead(head.method, target, fields);
}

/** What a trusted proxy was asked for goes before what it asks for itself. */
function hostOf(host: Field, { forwardedHost }: Peer): Field {
  return forwardedHost === undefined ? host : field(host.name, forwardedHost);
}

/**
 * Tells the other relay that its request is being dealt with. It must be told before anything is: a
 * connection that ends in good order without this word means that nothing was done.
 */
export function acceptHop(exchange: Exchange): void {
  const head = { minor: 1, status: 102, reason: "Processing", fields: [] };
  exchange.inform(head, [field(names.hop, hopAnswer.accepted)]);
}

/** Tells the other relay that it has to look elsewhere; nothing was done with its request. */
export function answerNotHere(exchange: Exchange): void {
  answerError(exchange, notHere, [field(names.hop, hopAnswer.notHere)]);
}

/** What the other relay says became of a request, by the first head of its answer. */
export function readHopAnswer(head: ResponseHead): "accepted" | "not-here" | "refused" {
  const said = getField(head.fields, names.hop.toLowerCase());
  if (head.status === 102 && said === hopAnswer.accepted) return "accepted";
  return head.status === 421 && said === hopAnswer.notHere ? "not-here" : "refused";
}
