/** A service's route as one relay hands it to another: what the first one has decided, and no more. */
import { z } from "zod";
import { impersonations } from "../../domain/cluster.ts";
import type { ClusterRoute, Route, ServiceRoute } from "../route.ts";

/** Where a request goes, and which agents of the cluster may have it. */
export interface HopRoute<R extends Route = Route> {
  readonly route: R;
  /** Whether it is only for an agent that serves the route; relays that do not know this have any refuse it. */
  readonly isSelective: boolean;
}

/** What such a request asks for; relays that know no services answer 404. */
export const serviceHopTarget = "/.culvert/hop";
/**
 * What a request asks for whose agent is to impersonate somebody. Relays that know nothing of identities
 * answer 404: they would send it on without one, and an agent might run it with its own rights.
 */
export const identityHopTarget = "/.culvert/identity-hop";

const routeSchema = z.object({
  cluster: z.string().min(1),
  name: z.string().min(1),
  hostname: z.string().min(1),
  target: z.string().min(1).optional(),
  transport: z.enum(["http", "tcp"]).default("http"),
  host: z.enum(["public", "target"]),
  authorization: z.enum(["culvert", "app"]),
  impersonation: z.enum(impersonations),
  selective: z.literal("true").optional(),
});

/** The value of `Culvert-Route`: the path, which may have any bytes, goes beside it. */
export function encodeServiceRoute({ route, isSelective }: HopRoute<ServiceRoute>): string {
  const { cluster, name, hostname, target, transport, rules } = route;
  const to = { cluster, name, hostname, ...target !== undefined && { target }, transport };
  const known = { ...to, ...rules, ...isSelective && { selective: "true" } };
  return new URLSearchParams(known).toString();
}

/** The value of `Culvert-Route` for a cluster, where the request target cannot say it. */
export function encodeClusterRoute({ cluster }: ClusterRoute): string {
  return new URLSearchParams({ cluster }).toString();
}

/** Reads it; undefined for what no relay writes. */
export function readClusterRoute(text: string, path: string): HopRoute<ClusterRoute> | undefined {
  const [[name, cluster] = [], ...others] = [...new URLSearchParams(text)];
  const isOne = name === "cluster" && cluster && others.length === 0 && path.startsWith("/");
  return isOne ? { route: { kind: "cluster", cluster, path }, isSelective: false } : undefined;
}

/** Reads it; undefined for what no relay writes. */
export function readServiceRoute(text: string, path: string): HopRoute<ServiceRoute> | undefined {
  const result = routeSchema.safeParse(Object.fromEntries(new URLSearchParams(text)));
  if (!result.success || !/^(?:\/|\*$)/.test(path)) return undefined;
  const { host, authorization, impersonation, target, selective, ...named } = result.data;
  const rules = { host, authorization, impersonation };
  const route: ServiceRoute = {
    kind: "service",
    ...named,
    target,
    path,
    rules,
    isOpenWildcard: false,
    service: undefined,
  };
  return { route, isSelective: selective === "true" };
}
