/** The Secret that holds a tunnel's relay entry where nobody registers the tunnel. */
import type { KubeObject } from "../../kube/objects.ts";
import { metadataOf } from "../agents/agent_metadata.ts";
import { group, version } from "../api/schema.ts";
import type { Tunnel } from "../tunnel.ts";

/** What the relay's operator needs, where nobody registers the tunnel: no token, only its digest. */
export function entrySecret(
  tunnel: Tunnel,
  name: string,
  entry: Readonly<Record<string, unknown>>,
  targets: readonly string[],
): KubeObject {
  return {
    metadata: metadataOf(tunnel, name),
    type: "Opaque",
    stringData: {
      "cluster.json": `${JSON.stringify(entry)}\n`,
      "targets.json": `${JSON.stringify(targets)}\n`,
      "cluster.yaml": `${JSON.stringify(clusterOf(entry), undefined, 2)}\n`,
    },
  };
}

/** The Cluster that admits the tunnel, for the relay's operator: JSON, which is YAML too. */
function clusterOf({ id, tokens, targetAddr }: Readonly<Record<string, unknown>>): unknown {
  const digests = tokens as readonly { readonly name: string; readonly tokenSha256: string }[];
  return {
    apiVersion: `${group}/${version}`,
    kind: "Cluster",
    metadata: { name: id },
    spec: {
      tokens: digests.map(({ name, tokenSha256 }) => ({ name, sha256: tokenSha256 })),
      ...targetAddr !== undefined && { targets: [targetAddr], argocd: { enabled: true } },
    },
  };
}
