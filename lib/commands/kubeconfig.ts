/** `relay kubeconfig`: what kubectl reads to reach a cluster through the relay. */
import type { Access } from "../config/commands/access_options.ts";
import {
  kubeconfigProgram,
  parseKubeconfigOptions,
} from "../config/commands/kubeconfig_options.ts";
import { base64Of } from "./base64.ts";
import { type Command, commandOf } from "./command.ts";
import type { YamlValue } from "./yaml.ts";

/** Prints a kubeconfig that needs no other file. */
export const kubeconfigCommand: Command = commandOf({
  word: kubeconfigProgram.word,
  parse: parseKubeconfigOptions,
  async make({ access, name, namespace }, tools) {
    if (access.tls) await tools.checkTls(access.tls);
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
    return { text, warnings: provesNothing(access) ? [openOnly] : [] };
  },
});

function clusterOf({ url, tls }: Access): YamlValue {
  return {
    server: url,
    ...(tls?.ca && { "certificate-authority-data": base64Of(tls.ca.pem) }),
    ...(tls?.serverName !== undefined && { "tls-server-name": tls.serverName }),
  };
}

/** What kubectl shows instead of a credential; a relay with `--callers open` takes it off. */
const placeholderToken = "none";

const openOnly = "Without --client-cert or a token, only a relay with --callers open lets this in";

function userOf(access: Access): YamlValue {
  const { tls, token } = access;
  // Over TLS kubectl asks for a user's name and password if it knows of no credential.
  if (provesNothing(access)) return { token: placeholderToken };
  return {
    ...(tls?.pair && {
      "client-certificate-data": base64Of(tls.pair.cert.pem),
      "client-key-data": base64Of(tls.pair.key.pem),
    }),
    ...(token !== undefined && { token }),
  };
}

/** Over `http://` there is nothing with which kubectl could. */
function provesNothing({ tls, token }: Access): boolean {
  return tls !== undefined && tls.pair === undefined && token === undefined;
}
