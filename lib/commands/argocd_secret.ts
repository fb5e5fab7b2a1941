/** `relay argocd-secret`: what Argo CD reads to reach a cluster through the relay. */
import type { Access } from "../config/commands/access_options.ts";
import {
  argocdSecretProgram,
  parseArgocdSecretOptions,
} from "../config/commands/argocd_options.ts";
import { base64Of } from "./base64.ts";
import { type Command, commandOf } from "./command.ts";

/** Prints a cluster Secret, the same that the chart culvert-relay makes. */
export const argocdSecretCommand: Command = commandOf({
  word: argocdSecretProgram.word,
  parse: parseArgocdSecretOptions,
  async make({ access, name, namespace, warnings }, tools) {
    if (access.tls) await tools.checkTls(access.tls);
    // Loaded only here: a relay that serves has no use for it.
    const { writeYaml } = await import("./yaml.ts");
    const text = writeYaml({
      apiVersion: "v1",
      kind: "Secret",
      metadata: {
        name: await secretName(access.cluster),
        namespace,
        labels: {
          "argocd.argoproj.io/secret-type": "cluster",
          "app.kubernetes.io/part-of": "culvert",
        },
      },
      type: "Opaque",
      stringData: {
        name,
        server: access.url,
        config: { literal: JSON.stringify(configOf(access), undefined, 2) },
      },
    });
    return { text, warnings };
  },
});

/**
 * Argo CD's own settings for a cluster. Over `http://` there is nothing to verify, and Argo CD wants
 * that said.
 */
function configOf({ tls, token }: Access): unknown {
  return {
    ...(token !== undefined && { bearerToken: token }),
    tlsClientConfig: {
      insecure: tls === undefined,
      ...(tls?.serverName !== undefined && { serverName: tls.serverName }),
      ...(tls?.ca && { caData: base64Of(tls.ca.pem) }),
      ...(tls?.pair && {
        certData: base64Of(tls.pair.cert.pem),
        keyData: base64Of(tls.pair.key.pem),
      }),
    },
  };
}

const namePrefix = "culvert-cluster-";

/** Of the id in the name: as the chart has it, and well within the 253 of a DNS subdomain (RFC 1123). */
const maxPlainCharacters = 150;

/** Ids that no Secret's name can hold are told apart by a part of their digest. */
async function secretName(id: string): Promise<string> {
  const plain = id.toLowerCase().replaceAll(/[^a-z0-9-]/g, "-").replaceAll(/^-+|-+$/g, "");
  if (plain === id && id.length <= maxPlainCharacters) return namePrefix + id;
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(id));
  const tail = new Uint8Array(digest).toHex().slice(0, 8);
  const head = plain.slice(0, maxPlainCharacters).replace(/-+$/, "");
  return namePrefix + [head, tail].filter((part) => part !== "").join("-");
}
