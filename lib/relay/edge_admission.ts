/**
 * Admission at the edge, in front of the object that holds a cluster's sessions: finds the cluster of a
 * request and refuses callers without a credential for it, so that they cannot wake the object. The
 * object checks the same credentials again and does everything else.
 */
import { type Field, field, type RequestHead } from "../http1/head.ts";
import type { Service } from "../domain/service.ts";
import type { Peer } from "../net/exchange.ts";
import { targetOf } from "../net/fetch_request.ts";
import { Admission } from "./agents/admissions.ts";
import { readAgentCredentials } from "./agents/agent_credentials.ts";
import { Denial } from "./callers/caller.ts";
import { refuseCluster } from "./callers/callers.ts";
import { clusterNotAvailable } from "./availability_errors.ts";
import { callerUnknown } from "./caller_errors.ts";
import { errorResponse } from "./error_response.ts";
import { notAHandshake } from "./request_errors.ts";
import type { Relay } from "./relay.ts";
import { clusterRouteOf, isOwnPath } from "./route.ts";
import { askedBy } from "./people/asked_request.ts";
import { isAnonymous } from "./services/anonymous_paths.ts";
import { canonicalHost } from "./services/canonical_host.ts";

/** The id of the cluster that a request may go on to, or the answer to it. */
export async function admitAtEdge(
  relay: Relay,
  request: Request,
  peer: Peer,
): Promise<string | Response> {
  const target = targetOf(request.url);
  const fields = [...request.headers].map(([name, value]) => field(name, value));
  const path = target.split("?", 1)[0];
  const { method } = request;
  // The object would see a GET.
  const upgrade = request.headers.get("upgrade")?.toLowerCase();
  if (upgrade === "websocket" && method !== "GET") return errorResponse(notAHandshake);
  const host = canonicalHost(new URL(request.url).host);
  const service = host === undefined ? undefined : relay.services.table.find(host)?.service;
  if (service) {
    return await serviceCluster(relay, service, host!, { method, target, minor: 1, fields }, peer);
  }
  if (path === "/connect") return await agentsCluster(relay, fields, peer);
  if (path === "/healthz") return new Response("ok");
  const cluster = clusterRouteOf(target)?.cluster;
  if (!cluster) return new Response("not found\n", { status: 404 });
  return await callersCluster(relay, cluster, { target, fields }, peer);
}

/** Paths of culvert's own need no caller yet: a preflight and a sign-in have none. */
async function serviceCluster(
  relay: Relay,
  service: Service,
  hostname: string,
  head: Pick<RequestHead, "method" | "target" | "minor" | "fields">,
  peer: Peer,
): Promise<string | Response> {
  const isOpen = isOwnPath(head.target) || isAnonymous(service, head.target, head.fields);
  if (!isOpen && service.corsOrigins.length === 0) {
    const asked = askedBy(head, head.target);
    const request = { head, peer };
    const identity = await relay.services.authorizer.identify(service, hostname, request, asked);
    if (identity instanceof Denial) return errorResponse(identity.answer, head);
  }
  const isKnown = relay.config.clusters.some(({ id }) => id === service.cluster);
  return isKnown ? service.cluster : errorResponse(clusterNotAvailable, head);
}

async function agentsCluster(
  relay: Relay,
  fields: readonly Field[],
  peer: Peer,
): Promise<string | Response> {
  const credentials = await readAgentCredentials(fields, peer);
  const admission = credentials && relay.admissions.admit(credentials);
  if (!(admission instanceof Admission)) return errorResponse(callerUnknown);
  // The object, which will have its session, admits it again.
  relay.admissions.leave(admission);
  return admission.cluster.id;
}

async function callersCluster(
  relay: Relay,
  cluster: string,
  head: { readonly target: string; readonly fields: readonly Field[] },
  peer: Peer,
): Promise<string | Response> {
  const identity = await relay.callers.identify({ head, peer });
  if (identity instanceof Denial) return errorResponse(identity.answer, head);
  const denial = refuseCluster(identity, cluster);
  if (denial) return errorResponse(denial.answer, head);
  // A name that is made up must not make an object.
  const isKnown = relay.config.clusters.some(({ id }) => id === cluster);
  return isKnown ? cluster : errorResponse(clusterNotAvailable, head);
}
