/** What Argo CD's cluster Secrets hold, whoever makes them: a command, or the operator. */
import { base64Of } from "../base64.ts";

/** How Argo CD is to reach a cluster through the relay. */
export interface ArgocdAccess {
  /** Undefined where the URL is `http://`: there is nothing to verify, and Argo CD wants that said. */
  readonly tls?: {
    readonly serverName?: string | undefined;
    /** PEM. */
    readonly ca?: string | undefined;
    /** PEM. */
    readonly pair?: { readonly cert: string; readonly key: string } | undefined;
  } | undefined;
  /** A caller's token. A secret. */
  readonly token?: string | undefined;
}

/** Argo CD's own settings for a cluster: the Secret's key `config`, before it is JSON. */
export function argocdConfig({ tls, token }: ArgocdAccess): unknown {
  return {
    ...token !== undefined && { bearerToken: token },
    tlsClientConfig: {
      insecure: tls === undefined,
      ...tls?.serverName !== undefined && { serverName: tls.serverName },
      ...tls?.ca !== undefined && { caData: base64Of(tls.ca) },
      ...tls?.pair && { certData: base64Of(tls.pair.cert), keyData: base64Of(tls.pair.key) },
    },
  };
}

const namePrefix = "culvert-cluster-";

/** The longest id that is part of the name, as in the chart. A DNS subdomain may have 253 (RFC 1123). */
const maxPlainCharacters = 150;

/** The Secret's name. Ids that no name can hold are told apart by a part of their digest. */
export async function argocdSecretName(id: string): Promise<string> {
  const plain = id.toLowerCase().replaceAll(/[^a-z0-9-]/g, "-").replaceAll(/^-+|-+$/g, "");
  if (plain === id && id.length <= maxPlainCharacters) return namePrefix + id;
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(id));
  const tail = new Uint8Array(digest).toHex().slice(0, 8);
  const head = plain.slice(0, maxPlainCharacters).replace(/-+$/, "");
  return namePrefix + [head, tail].filter((part) => part !== "").join("-");
}
