/** Where a request goes: found once, before anything is decided about it, and handed on as it is. */
import type { Impersonation } from "../domain/cluster.ts";
import type { Service } from "../domain/service.ts";

/** A cluster under its path: `/tunnel/{cluster}/…`. */
export interface ClusterRoute {
  readonly kind: "cluster";
  readonly cluster: string;
  /** Path and query for the target, byte for byte as the caller sent them. */
  readonly path: string;
}

/** A service at a hostname of its own. */
export interface ServiceRoute {
  readonly kind: "service";
  /** The cluster whose agents reach the target. */
  readonly cluster: string;
  /** Path and query for the target, byte for byte as the caller sent them. */
  readonly path: string;
  /** The service's name, for logs and metrics. */
  readonly name: string;
  /** The hostname that the request asked for, in canonical form. */
  readonly hostname: string;
  /**
   * What the agent is asked for. Undefined for a hostname that agents claim: the session says it, and
   * only sessions that claimed the hostname may get the request.
   */
  readonly target: string | undefined;
  /** What the agent has to carry: requests, or the bytes of TCP connections. */
  readonly transport: "http" | "tcp";
  readonly rules: RequestRules;
  /** Whether the hostname is one of many under a wildcard that agents may claim. */
  readonly isOpenWildcard: boolean;
  /** The service as this relay is configured; undefined if another relay has let the request in. */
  readonly service: Service | undefined;
}

/** What of a request's head the target sees. */
export interface RequestRules {
  /** Whether `Host` is what the caller asked for, or the target's. */
  readonly host: "public" | "target";
  /** Who reads `Authorization`: culvert, which drops it, or the app, which gets it. */
  readonly authorization: "culvert" | "app";
  readonly impersonation: Impersonation;
}

/** Where a request goes. */
export type Route = ClusterRoute | ServiceRoute;

const prefix = "/tunnel/";

/**
 * The route that a request target names by its path, if it names one. Nothing is decoded or
 * normalised; an absolute-form target (RFC 9112 section 3.2.2) is taken without its scheme and
 * authority.
 */
export function clusterRouteOf(target: string): ClusterRoute | undefined {
  const path = pathOf(target);
  if (!path.startsWith(prefix)) return undefined;
  const end = path.slice(prefix.length).search(/[/?]/);
  if (end === -1) return { kind: "cluster", cluster: path.slice(prefix.length), path: "/" };
  const cluster = path.slice(prefix.length, prefix.length + end);
  const rest = path.slice(prefix.length + end);
  return { kind: "cluster", cluster, path: rest.startsWith("?") ? `/${rest}` : rest };
}

/** A request target in origin form; `*` stays. */
export function pathOf(target: string): string {
  if (target.startsWith("/")) return target;
  const path = target.replace(/^https?:\/\/[^/?]*/i, "");
  return path === "" || path.startsWith("?") ? `/${path}` : path;
}

/**
 * Whether a path at a service's host is culvert's own. Bytes count, as they were sent: what an app might
 * decode to the same is the app's.
 */
export function isOwnPath(path: string): boolean {
  return path.startsWith("/.culvert/") || /^\/\.culvert(?:\?|$)/.test(path);
}

/** A query may hold what a log must not. */
export function withoutQuery(path: string): string {
  const end = path.indexOf("?");
  return end === -1 ? path : path.slice(0, end);
}
