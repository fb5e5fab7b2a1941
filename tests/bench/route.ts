/** A way from the caller to the target, as the measurements see it. */
import type { Subprocess } from "./subprocess.ts";
import type { BenchTarget } from "./target.ts";

/** The ways that are compared, in the order of the table's columns. */
export const ROUTE_NAMES = [
  ...["direct", "rathole", "haproxy", "chisel", "frp"] as const,
  ...["before", "culvert"] as const,
] as const;

/** What a way is called. */
export type RouteName = typeof ROUTE_NAMES[number];

/**
 * How the work reaches the target: its plain or its TLS listener; the plain one as a service at a
 * hostname; or its bytes as a TCP stream. Ways that know no services take the plain one for these.
 */
export type TargetKind = "plain" | "tls" | "service" | "tcp";

/** What a table calls them. */
export const kindTitles: Readonly<Record<TargetKind, string>> = {
  plain: "plain target",
  tls: "TLS target",
  service: "service at a hostname",
  tcp: "TCP stream",
};

/** The tunnel's two ends; a peer's server stands where the relay does, its client for the agent. */
export const ROLES = ["relay", "agent"] as const;

/** One of the tunnel's two ends. */
export type Role = typeof ROLES[number];

/** One end of the tunnel as a process. */
export interface RouteProcess {
  readonly role: Role;
  readonly pid: number;
}

/** A way that is up. Disposing it ends its processes. */
export interface Route extends AsyncDisposable {
  /** Where a caller finds a path of the target. */
  url(kind: TargetKind, path: string): string;
  /** What a request says in `Host`, where it is not the URL's. */
  host?(kind: TargetKind): string | undefined;
  /** The processes that carry traffic to this kind of target; none for the direct way. */
  processes(kind: TargetKind): readonly RouteProcess[];
  /** Throws the last words of a process of this way that has ended. */
  throwIfEnded(): Promise<void>;
}

/** What a way is built around. */
export interface RouteContext {
  readonly target: BenchTarget;
  /** What relay and agent get as `-log-level`. */
  readonly logLevel: string;
  /** The line between the tunnel's two ends (or before the target, when direct); none on loopback. */
  readonly line: { readonly rttMs: number; readonly rateMbit: number } | undefined;
  readonly signal: AbortSignal;
}

/** Starts a way; it carries requests when this returns. */
export type StartRoute = (context: RouteContext) => Promise<Route>;

/** The port of one of the target's own listeners. */
export function targetPort(target: BenchTarget, kind: TargetKind): number {
  return kind === "tls" ? target.tlsPort : target.plainPort;
}

/** A way made of `subprocesses`, and of whatever else `stack` holds: the last step of starting it. */
export function makeRoute(
  stack: AsyncDisposableStack,
  subprocesses: readonly Subprocess[],
  route: Pick<Route, "url" | "host" | "processes">,
): Route {
  const moved = stack.move();
  return {
    ...route,
    async throwIfEnded() {
      for (const subprocess of subprocesses) await subprocess.throwIfEnded();
    },
    [Symbol.asyncDispose]: () => moved.disposeAsync(),
  };
}
