/** The options of `relay argocd-secret`. */
import {
  type Access,
  accessTable,
  displayName,
  namespaceName,
  readAccess,
} from "./access_options.ts";
import type { CommandProgram, OptionTable } from "../options/option_table.ts";
import { type Environment, type Parsed, parseOptions } from "../options/options.ts";
import { commandExitCodes } from "../tables/shared.ts";
import { version } from "../version.ts";

/** What a cluster Secret of Argo CD's is made of. */
export interface ArgocdSecretOptions {
  readonly access: Access;
  /** The cluster's name in Argo CD. */
  readonly name: string;
  /** Argo CD's own. */
  readonly namespace: string;
  /** One line each, about what works but should not stay. */
  readonly warnings: readonly string[];
}

const table = {
  ...accessTable,
  name: {
    name: "name",
    group: "Output",
    kind: displayName,
    description: "The cluster's name in Argo CD; without it, CLUSTER",
  },
  namespace: {
    name: "namespace",
    group: "Output",
    kind: namespaceName,
    default: "argocd",
    description: "Namespace of Argo CD",
  },
} as const satisfies OptionTable;

/** The command as its help text presents it. */
export const argocdSecretProgram = {
  name: "relay argocd-secret",
  word: "argocd-secret",
  title: "Print the Secret with which Argo CD reaches a cluster through the relay",
  version,
  usage: "CLUSTER --server URL [options]",
  summary: "Prints the Secret that makes a cluster behind the relay a cluster of Argo CD's, at " +
    "URL/tunnel/CLUSTER. It has Argo CD's credential for the relay, if it needs one, and never " +
    "one of the cluster. Applications name the cluster as their destination: by name, or by " +
    "that URL. The chart culvert-relay makes the same for all clusters, with argocd.enabled.",
  options: table,
  examples: [
    {
      title: "Where a network policy lets Argo CD alone reach the relay",
      command:
        "relay argocd-secret dev --server http://culvert-relay-internal.culvert.svc:8080 |\n" +
        "    kubectl apply -f -",
    },
    {
      title: "Over TLS, with a token of --caller-tokens",
      command:
        "relay argocd-secret dev --server https://relay:8080 --ca ca.crt --token-file argocd.token",
    },
    {
      title: "With mutual TLS",
      command: "relay argocd-secret dev --server https://relay:8080 --ca ca.crt \\\n" +
        "    --client-cert argocd.crt --client-key argocd.key",
    },
  ],
  exitCodes: commandExitCodes,
} as const satisfies CommandProgram<typeof table>;

/**
 * Reads the options and the files that they name.
 *
 * @param argv the arguments after the command's word
 * @throws {ConfigError} for whatever no working Secret can be made of
 */
export function parseArgocdSecretOptions(
  argv: readonly string[],
  env: Environment,
): Parsed<ArgocdSecretOptions> {
  const parsed = parseOptions(argocdSecretProgram, argv, env);
  if (parsed.kind !== "run") return parsed;
  const { values } = parsed.options;
  const access = readAccess(parsed.options);
  const isShown = access.token !== undefined && access.tls === undefined;
  const warnings = isShown
    ? ["Over http:// everybody on the way can read the token; better give the relay TLS"]
    : [];
  const { namespace } = values;
  return {
    kind: "run",
    options: { access, name: values.name ?? values.cluster, namespace, warnings },
  };
}
