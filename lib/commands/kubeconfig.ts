/** `relay kubeconfig`: what kubectl reads to reach a cluster through the relay. */
import type { Access } from "../config/access_options.ts";
import { kubeconfigProgram, parseKubeconfigOptions } from "../config/kubeconfig_options.ts";
import { base64Of } from "./base64.ts";
import { type Command, commandOf } from "./command.ts";
import type { YamlValue } from "./yaml.ts";

/** Prints a kubeconfig that needs no other file. */
export const kubeconfigCommand: Command = commandOf({
  word: kubeconfigProgram.word,
  parse: parseKubeconfigOptions,
  async make({ access, name, namespace }, tools) {
    if (access.tls) tools.checkTls(access.tls);
    // Loaded only here: a relay that serves has no use for it.
    const { writeYaml } = await import("./yaml.ts");
    const context = { cluster: name, user: name, ...(namespace !== undefined && { namespace }) };
    const text = writeYaml({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name, cluster: clusterOf(access) }],
      users: [{ name, user: userOf(access) }],
      contexts: [{ name, context }],
      "current-context": name,
    });
    return { text, warnings: [] };
  },
});

function clusterOf({ url, tls }: Access): YamlValue {
  return {
    server: url,
    ...(tls?.ca && { "certificate-authority-data": base64Of(tls.ca.pem) }),
    ...(tls?.serverName !== undefined && { "tls-server-name": tls.serverName }),
  };
}

function userOf({ tls, token }: Access): YamlValue {
  return {
    ...(tls?.pair && {
      "client-certificate-data": base64Of(tls.pair.cert.pem),
      "client-key-data": base64Of(tls.pair.key.pem),
    }),
    ...(token !== undefined && { token }),
  };
}
