/** Tunnels and ClusterTunnels, which most of the operator treats alike. */
import type { z } from "zod";
import { keyOf, type KubeObject } from "../kube/objects.ts";
import type { Resource } from "../kube/resources.ts";
import { clusterTunnels, tunnels } from "./api/crds.ts";
import { type TunnelSpec, tunnelSpec, type TunnelStatus } from "./api/tunnel.ts";
import type { BindingSpec } from "./api/tunnel_binding.ts";

/** A tunnel of either kind. */
export interface Tunnel {
  /** `Tunnel/NAMESPACE/NAME` or `ClusterTunnel/NAME`. */
  readonly key: string;
  readonly resource: Resource;
  readonly object: KubeObject;
  readonly name: string;
  /** Where its objects are: its own namespace, or the operator's. */
  readonly home: string;
  /** Undefined when this program can't read it, as with an older definition of the kind. */
  readonly spec: TunnelSpec | undefined;
  /** Why it can't. */
  readonly specFault?: string;
  readonly status: TunnelStatus;
  readonly isDeleted: boolean;
}

/** A tunnel whose spec could be read. */
export type ReadableTunnel = Tunnel & { readonly spec: TunnelSpec };

/** Whether the spec could be read. */
export function isReadable(tunnel: Tunnel): tunnel is ReadableTunnel {
  return tunnel.spec !== undefined;
}

/** The kind of a tunnel by its key. */
export function resourceOfTunnel(key: string): Resource {
  return key.startsWith("ClusterTunnel/") ? clusterTunnels : tunnels;
}

/** Who a tunnel belongs to, by its key: a namespace, or nobody but the ClusterTunnel itself. */
export function ownerOfTunnel(key: string): string {
  return key.startsWith("ClusterTunnel/") ? key : key.split("/")[1]!;
}

export function tunnelKey(resource: Resource, metadata: KubeObject["metadata"]): string {
  return `${resource.kind}/${keyOf(metadata)}`;
}

/** The key of the tunnel that a TunnelBinding names. */
export function boundTunnelKey({ metadata, spec }: KubeObject): string {
  const { kind = "Tunnel", name, namespace = metadata.namespace } = (spec as BindingSpec).tunnelRef;
  return kind === "ClusterTunnel" ? `${kind}/${name}` : `${kind}/${namespace}/${name}`;
}

/** Parses an object. @param operatorNamespace Where a ClusterTunnel's agents run. */
export function readTunnel(
  resource: Resource,
  object: KubeObject,
  operatorNamespace: string,
): Tunnel {
  const { metadata } = object;
  const { data, error } = tunnelSpec.safeParse(object["spec"]);
  return {
    key: tunnelKey(resource, metadata),
    resource,
    object,
    name: metadata.name,
    home: metadata.namespace ?? operatorNamespace,
    spec: data,
    ...error && { specFault: faultOf(error.issues) },
    status: (object["status"] ?? {}) as TunnelStatus,
    isDeleted: metadata.deletionTimestamp !== undefined,
  };
}

function faultOf([issue]: readonly z.core.$ZodIssue[]): string {
  return issue ? `${["spec", ...issue.path].join(".")}: ${issue.message}` : "spec";
}

const maxIdCharacters = 63;

/** The id at the relay: the recorded one, else the spec's, else one derived from the name. */
export function idOf({ status, spec, object, name }: Tunnel, prefix: string): string {
  if (status.id !== undefined) return status.id;
  if (spec?.id !== undefined) return spec.id;
  const { namespace } = object.metadata;
  const parts = [prefix, namespace, name].filter((part) => part !== undefined && part !== "");
  // A ClusterTunnel's name may have dots.
  return parts.join("-").replaceAll(".", "-").slice(0, maxIdCharacters).replace(/-+$/, "");
}
