/**
 * The route table: the targets of each tunnel's agents, and the services at its relay. Bindings are
 * compiled into it; another source of routes would be compiled into the same table.
 */
import { namesBehindPaths, type PathTarget } from "../../domain/target.ts";
import type { KubeObject } from "../../kube/objects.ts";
import type { BindingSpec, RouteSpec } from "../api/tunnel_binding.ts";
import type { Verdict } from "../conditions.ts";
import type { ReadPolicy } from "../access_policies/read_policy.ts";
import type { RouteAccess } from "../access_policies/route_access.ts";
import type { Publication } from "./route_groups.ts";
import type { Backend, TargetCredential, TargetTls } from "./route_resolution.ts";
import type { Tunnel } from "../tunnel.ts";

/** One target, as the agent's targets file has it. */
export interface Target {
  readonly name: string;
  readonly address: string;
  readonly kind?: "tcp";
  readonly tls?: TargetTls;
  readonly credential?: TargetCredential;
}

/** What became of one route. */
export interface CompiledRoute {
  readonly spec: RouteSpec;
  /** Its name as a target and as a service at the relay, unless its publication has others. */
  readonly id: string;
  readonly accepted: Verdict;
  readonly resolved: Verdict;
  readonly target?: Target;
  /** There for accepted routes. */
  readonly publication?: Publication;
  /** What AccessPolicies say of it; undefined where there is none. */
  readonly access?: RouteAccess | undefined;
  /** Names of targets and services that stay as they are, because something can't be read now. */
  readonly held?: readonly string[];
}

/** What became of one binding. */
export interface CompiledBinding {
  readonly key: string;
  readonly object: KubeObject;
  readonly spec: BindingSpec | undefined;
  readonly tunnel: Tunnel | undefined;
  readonly routes: readonly CompiledRoute[];
}

/** What one tunnel's agents serve. */
export interface TunnelTable {
  readonly targets: readonly (Target | PathTarget)[];
  /** What the targets lead to. */
  readonly backends: readonly Backend[];
  /** Files beside the targets file, by name. */
  readonly files: ReadonlyMap<string, string>;
  /** Credentials of targets, by the names of their files; they are in no other object than a Secret. */
  readonly credentials: ReadonlyMap<string, string>;
  /** Names of targets and credentials that agents keep as they have them. */
  readonly held: ReadonlySet<string>;
}

/** Nothing is served. */
export const emptyTable: TunnelTable = {
  targets: [],
  backends: [],
  files: new Map(),
  credentials: new Map(),
  held: new Set(),
};

/** Everything compiled. */
export interface RouteTable {
  readonly bindings: ReadonlyMap<string, CompiledBinding>;
  readonly tunnels: ReadonlyMap<string, TunnelTable>;
  /** AccessPolicies that are not being deleted. */
  readonly policies: ReadonlyMap<string, ReadPolicy>;
}

/** Names of the targets that a relay may ask for. */
export function askedNames({ targets }: Pick<TunnelTable, "targets">): string[] {
  const behind = namesBehindPaths(targets.filter((target) => "paths" in target));
  return targets.map(({ name }) => name).filter((name) => !behind.has(name));
}

/** The text of the targets file. */
export function targetsText({ targets }: Pick<TunnelTable, "targets">): string {
  return `${JSON.stringify({ targets }, undefined, 1)}\n`;
}
