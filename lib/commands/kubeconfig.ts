/** `relay kubeconfig`: what kubectl reads to reach a cluster through the relay. */
import type { Access, AccessLogin } from "../config/commands/access_options.ts";
import {
  kubeconfigProgram,
  parseKubeconfigOptions,
} from "../config/commands/kubeconfig_options.ts";
import { base64Of } from "../base64.ts";
import { type Command, commandOf } from "./command.ts";
import type { YamlValue } from "./yaml.ts";

/** Prints a kubeconfig that needs no other file. */
export const kubeconfigCommand: Command = commandOf({
  word: kubeconfigProgram.word,
  parse: parseKubeconfigOptions,
  async make({ access, name, namespace, mergeInto }, tools) {
    if (access.tls) await tools.checkTls(access.tls);
    // Loaded only here: a relay that serves has no use for it.
    const { writeYaml } = await import("./yaml.ts");
    const context = { cluster: name, user: name, ...(namespace !== undefined && { namespace }) };
    const kubeconfig = {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name, cluster: clusterOf(access) }],
      users: [{ name, user: userOf(access) }],
      contexts: [{ name, context }],
      "current-context": name,
    } as const;
    const warnings = provesNothing(access) ? [openOnly] : [];
    if (mergeInto === undefined) return { text: writeYaml(kubeconfig), warnings };
    const { mergeKubeconfig } = await import("./merge_kubeconfig.ts");
    const file = JSON.stringify(mergeInto);
    await tools.changeFile(mergeInto, (before) => mergeKubeconfig(before, kubeconfig, file));
    return { text: `Switched to context ${JSON.stringify(name)} in ${file}\n`, warnings };
  },
});

function clusterOf({ url, tls }: Access): Readonly<Record<string, YamlValue>> {
  return {
    server: url,
    ...(tls?.ca && { "certificate-authority-data": base64Of(tls.ca.pem) }),
    ...(tls?.serverName !== undefined && { "tls-server-name": tls.serverName }),
  };
}

/** What kubectl shows instead of a credential; a relay with `--callers open` takes it off. */
const placeholderToken = "none";

const openOnly = "Without --client-cert or a token, only a relay with --callers open lets this in";

function userOf(access: Access): Readonly<Record<string, YamlValue>> {
  const { tls, token, login } = access;
  // Over TLS kubectl asks for a user's name and password if it knows of no credential.
  if (provesNothing(access)) return { token: placeholderToken };
  return {
    ...(tls?.pair && {
      "client-certificate-data": base64Of(tls.pair.cert.pem),
      "client-key-data": base64Of(tls.pair.key.pem),
    }),
    ...(token !== undefined && { token }),
    ...(login && { exec: pluginOf(login) }),
  };
}

/** kubectl's credential plugin; it signs in without a terminal as well. */
function pluginOf({ command, args }: AccessLogin): YamlValue {
  return {
    apiVersion: "client.authentication.k8s.io/v1",
    command,
    args: [...args],
    interactiveMode: "IfAvailable",
    provideClusterInfo: false,
    installHint: "kubectl signs in with access, a program of culvert: see docs/install.md there",
  };
}

/** Whether kubectl proves nothing to the relay. Over `http://` it can't send a credential. */
function provesNothing({ tls, token, login }: Access): boolean {
  return tls !== undefined && tls.pair === undefined && token === undefined && login === undefined;
}
