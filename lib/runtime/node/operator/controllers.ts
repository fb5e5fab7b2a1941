/** What the operator's process works on: tunnels, clusters beside a relay, or both. */
import type { OperatorOptions } from "../../../config/operator_options.ts";
import { manager } from "../../../operator/api/schema.ts";
import type { Operator } from "../../../operator/operator.ts";
import { Management, type ManagementOptions } from "../../../operator/management/management.ts";

/** How long a registered cluster may be missing at the relay: longer than clusters take to put it again. */
const goneMs = 15 * 60_000;

/** What both sides are made from. */
export type ManagementParts =
  & Omit<ManagementOptions, "settings" | "watchNamespaces">
  & { readonly checkMs: number; readonly orphanMs: number };

/** The relay's side, if the options ask for it. */
export function makeManagement(
  options: OperatorOptions,
  { checkMs, orphanMs, ...parts }: ManagementParts,
): Management | undefined {
  if (!options.controllers.includes("clusters")) return undefined;
  return new Management({
    ...parts,
    settings: {
      namespace: options.namespace,
      argocdServer: withoutSlash(options.argocdServer),
      argocdNamespaces: [...new Set(options.argocdNamespaces ?? [])],
      clusterProfileNamespaces: [...new Set(options.clusterProfileNamespaces ?? [])],
      relayAdminUrl: withoutSlash(options.relayAdminUrl),
      relaySecret: options.relaySecret,
      relaySelector: options.relaySelector,
      pollMs: options.pollMs,
      resyncMs: options.resyncMs,
      ...{ checkMs, goneMs, orphanMs },
    },
    watchNamespaces: options.watchNamespaces,
  });
}

/** Of the Lease: operators of both sides may run in one namespace. */
export function leaseName({ controllers }: OperatorOptions): string {
  return controllers.includes("tunnels") ? manager : `${manager}-clusters`;
}

/** What works on the cluster, as far as the process starts and stops it. */
export interface Controller {
  readonly depth: number;
  readonly heldBack: number;
  /** Kinds that have not been listed yet. */
  readonly unlisted: readonly string[];
  watch(signal: AbortSignal): Promise<void>;
  act(signal: AbortSignal): Promise<void>;
}

/** The controllers that the options ask for. */
export function controllersOf(
  { controllers }: OperatorOptions,
  operator: Operator,
  management: Management | undefined,
): readonly Controller[] {
  return [...controllers.includes("tunnels") ? [operator] : [], ...management ? [management] : []];
}

function withoutSlash(url: URL | undefined): string | undefined {
  return url?.href.replace(/\/+$/, "");
}
