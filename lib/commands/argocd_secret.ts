/** `relay argocd-secret`: what Argo CD reads to reach a cluster through the relay. */
import type { Access } from "../config/commands/access_options.ts";
import {
  argocdSecretProgram,
  parseArgocdSecretOptions,
} from "../config/commands/argocd_options.ts";
import { argocdConfig, argocdSecretName } from "../domain/argocd_secret.ts";
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
        name: await argocdSecretName(access.cluster),
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

function configOf({ tls, token }: Access): unknown {
  return argocdConfig({
    token,
    tls: tls && {
      serverName: tls.serverName,
      ca: tls.ca?.pem,
      pair: tls.pair && { cert: tls.pair.cert.pem, key: tls.pair.key.pem },
    },
  });
}
