/** A way from the caller to the target, as the measurements see it. */
import type { Subprocess } from "./subprocess.ts";
import type { BenchTarget } from "./target.ts";

/** The ways that are compared, in the order of the table's columns. */
export const ROUTE_NAMES = ["direct", "rathole", "culvert"] as const;

/** What a way is called. */
export type RouteName = typeof ROUTE_NAMES[number];

/** Which of the target's listeners the work goes to. */
export type TargetKind = "plain" | "tls";

/** The tunnel's two ends; rathole's server stands where the relay does, its client for the agent. */
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
  return kind === "plain" ? target.plainPort : target.tlsPort;
}

/** A way made of `subprocesses`, and of whatever else `stack` holds: the last step of starting it. */
export function makeRoute(
  stack: AsyncDisposableStack,
  subprocesses: readonly Subprocess[],
  route: Pick<Route, "url" | "processes">,
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
