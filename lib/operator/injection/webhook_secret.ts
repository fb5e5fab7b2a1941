/** The Secret that holds the webhook's CA and certificate, and the configuration that trusts them. */
import { base64Of, textOfBase64 } from "../../base64.ts";
import type { KubeObject } from "../../kube/objects.ts";
import { managedByLabel, manager } from "../api/schema.ts";
import { certificatesIn, type KeyPair } from "./authority.ts";

/** What the Secret holds; what is missing was never made, or somebody has deleted it. */
export interface WebhookKeys {
  /** The newest CA, which signs. */
  readonly ca?: KeyPair;
  /** The server's. */
  readonly leaf?: KeyPair;
  /** All CAs that are to be trusted, the newest first. */
  readonly trusted: readonly string[];
}

const fields = {
  caCert: "ca.crt",
  caKey: "ca.key",
  leafCert: "tls.crt",
  leafKey: "tls.key",
  trusted: "trusted.crt",
} as const;

/** Reads the Secret. */
export function readKeys(secret: KubeObject | undefined): WebhookKeys {
  const data = (secret?.["data"] ?? {}) as Readonly<Record<string, string>>;
  const text = (field: string) => decoded(data[field]);
  const pair = (certField: string, keyField: string): KeyPair | undefined => {
    const [cert, key] = [text(certField), text(keyField)];
    return cert === "" || key === "" ? undefined : { cert, key };
  };
  const ca = pair(fields.caCert, fields.caKey);
  const leaf = pair(fields.leafCert, fields.leafKey);
  return {
    ...ca && { ca },
    ...leaf && { leaf },
    trusted: certificatesIn(text(fields.trusted)),
  };
}

/** The Secret as it is to be. @param before What is there now. */
export function secretOf(
  { ca, leaf, trusted }: WebhookKeys,
  at: { readonly namespace: string; readonly name: string },
  before: KubeObject | undefined,
): KubeObject {
  const labels = { ...before?.metadata.labels, [managedByLabel]: manager };
  return {
    metadata: { ...before?.metadata, ...at, labels },
    type: "Opaque",
    data: {
      ...ca && { [fields.caCert]: base64Of(ca.cert), [fields.caKey]: base64Of(ca.key) },
      ...leaf && { [fields.leafCert]: base64Of(leaf.cert), [fields.leafKey]: base64Of(leaf.key) },
      [fields.trusted]: base64Of(trusted.join("")),
    },
  };
}

/** Where the API server finds a webhook. */
export interface ClientConfig {
  readonly caBundle?: string;
  readonly url?: string;
  readonly service?: {
    readonly name: string;
    readonly namespace: string;
    readonly port?: number;
  };
}

interface Webhook {
  readonly name: string;
  readonly clientConfig: ClientConfig;
}

/** The webhooks of a MutatingWebhookConfiguration. */
export function webhooksOf(configuration: KubeObject): readonly Webhook[] {
  return (configuration["webhooks"] ?? []) as readonly Webhook[];
}

/** CAs that the API server trusts for every webhook of a configuration. */
export function trustedBy(configuration: KubeObject): readonly string[] {
  const [first = [], ...others] = webhooksOf(configuration)
    .map(({ clientConfig }) => certificatesIn(decoded(clientConfig.caBundle)));
  return first.filter((ca) => others.every((bundle) => bundle.includes(ca)));
}

/** Names that the API server expects of the webhook's certificate, sorted. */
export function namesIn(configuration: KubeObject): readonly string[] {
  const names = webhooksOf(configuration).flatMap(({ clientConfig: { service, url } }) => {
    if (service) return [`${service.name}.${service.namespace}.svc`];
    const host = url === undefined ? undefined : URL.parse(url)?.hostname;
    return host === undefined ? [] : [host];
  });
  return [...new Set(names)].sort();
}

/**
 * What is applied to a configuration so that it trusts some CAs. It is refused if somebody has changed
 * the configuration meanwhile: another replica may have it trust a CA that this one does not know of.
 */
export function trusting(configuration: KubeObject, cas: readonly string[]): KubeObject {
  const { name, uid = "", resourceVersion } = configuration.metadata;
  return {
    metadata: { name, uid, ...resourceVersion !== undefined && { resourceVersion } },
    webhooks: webhooksOf(configuration).map(({ name }) => ({
      name,
      clientConfig: { caBundle: base64Of(cas.join("")) },
    })),
  };
}

function decoded(base64: string | undefined): string {
  try {
    return textOfBase64(base64 ?? "");
  } catch {
    return "";
  }
}
