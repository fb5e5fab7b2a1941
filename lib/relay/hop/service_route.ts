/** A service's route as one relay hands it to another: what the first one has decided, and no more. */
import { z } from "zod";
import { impersonations } from "../../domain/cluster.ts";
import type { ServiceRoute } from "../route.ts";

/** What such a request asks for; relays that know no services answer 404. */
export const serviceHopTarget = "/.culvert/hop";

const routeSchema = z.object({
  cluster: z.string().min(1),
  name: z.string().min(1),
  hostname: z.string().min(1),
  target: z.string().min(1).optional(),
  transport: z.enum(["http", "tcp"]).default("http"),
  host: z.enum(["public", "target"]),
  authorization: z.enum(["culvert", "app"]),
  impersonation: z.enum(impersonations),
});

/** The value of `Culvert-Route`: the path, which may have any bytes, goes beside it. */
export function encodeServiceRoute(route: ServiceRoute): string {
  const { cluster, name, hostname, target, transport, rules } = route;
  const to = { cluster, name, hostname, ...target !== undefined && { target }, transport };
  const known = { ...to, ...rules };
  return new URLSearchParams(known).toString();
}

/** Reads it; undefined for what no relay writes. */
export function readServiceRoute(text: string, path: string): ServiceRoute | undefined {
  const result = routeSchema.safeParse(Object.fromEntries(new URLSearchParams(text)));
  if (!result.success || !/^(?:\/|\*$)/.test(path)) return undefined;
  const { host, authorization, impersonation, target, ...named } = result.data;
  const rules = { host, authorization, impersonation };
  return {
    kind: "service",
    ...named,
    target,
    path,
    rules,
    isOpenWildcard: false,
    service: undefined,
  };
}
