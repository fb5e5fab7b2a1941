/** The options of `relay kubeconfig`. */
import {
  type Access,
  accessTable,
  displayName,
  namespaceName,
  readAccess,
} from "./access_options.ts";
import { ConfigError } from "../config_error.ts";
import { isThere, joinPath } from "../files.ts";
import { variableOf } from "../options/environment.ts";
import { boolean } from "../options/kinds.ts";
import type { CommandProgram, OptionTable } from "../options/option_table.ts";
import { type Environment, type Parsed, parseOptions } from "../options/options.ts";
import { commandExitCodes } from "../tables/shared.ts";
import { version } from "../version.ts";

/** What a kubeconfig is made of. */
export interface KubeconfigOptions {
  readonly access: Access;
  /** Names its cluster, user and context. */
  readonly name: string;
  /** Of the context; undefined is Kubernetes' `default`. */
  readonly namespace?: string | undefined;
  /** The kubeconfig to put it in; undefined prints it. */
  readonly mergeInto?: string | undefined;
}

const table = {
  ...accessTable,
  name: {
    name: "name",
    group: "Output",
    kind: displayName,
    description: "Name of the kubeconfig's cluster, user and context; without it, CLUSTER",
  },
  namespace: {
    name: "namespace",
    group: "Output",
    kind: namespaceName,
    description: "Namespace for commands that name none; without it, default",
  },
  merge: {
    name: "merge",
    group: "Output",
    kind: boolean,
    default: "false",
    description: "Instead of printing it, put it in your own kubeconfig and make its context the " +
      "current one: the first file of `KUBECONFIG` that is there, else `~/.kube/config`",
  },
} as const satisfies OptionTable;

/** The command as its help text presents it. */
export const kubeconfigProgram = {
  name: "relay kubeconfig",
  word: "kubeconfig",
  title: "Print a kubeconfig for kubectl, Helm and others to reach a cluster through the relay",
  version,
  usage: "CLUSTER --server URL [options]",
  summary:
    "Prints a kubeconfig with which kubectl, Helm and whatever else reads one reach a cluster " +
    "through the relay, at URL/tunnel/CLUSTER. Certificates, key and token are in it, so it is a " +
    "secret if they are, and it needs no other file. It has the caller's credential for the " +
    "relay, never one of the cluster. kubectl sends a token over https:// only.",
  options: table,
  examples: [
    {
      title: "On the relay's own machine, where callers need no credential",
      command: "relay kubeconfig dev --server http://127.0.0.1:8080 > dev.kubeconfig",
    },
    {
      title: "Use it",
      command: "kubectl --kubeconfig dev.kubeconfig get pods --all-namespaces",
    },
    {
      title: "In your own kubeconfig, as the current context",
      command: "relay kubeconfig dev --server https://relay:8080 --ca ca.crt --merge",
    },
    {
      title: "Over TLS, with a token of --caller-tokens",
      command:
        "relay kubeconfig dev --server https://relay:8080 --ca ca.crt --token-file caller.token",
    },
    {
      title: "With mutual TLS",
      command: "relay kubeconfig dev --server https://relay:8080 --ca ca.crt \\\n" +
        "    --client-cert me.crt --client-key me.key",
    },
  ],
  exitCodes: commandExitCodes,
} as const satisfies CommandProgram<typeof table>;

/**
 * Reads the options and the files that they name.
 *
 * @param argv the arguments after the command's word
 * @throws {ConfigError} for whatever no working kubeconfig can be made of
 */
export function parseKubeconfigOptions(
  argv: readonly string[],
  env: Environment,
): Parsed<KubeconfigOptions> {
  const parsed = parseOptions(kubeconfigProgram, argv, env);
  if (parsed.kind !== "run") return parsed;
  const { values } = parsed.options;
  const access = readAccess(parsed.options);
  if (access.token !== undefined && access.tls === undefined) {
    throw new ConfigError(
      "Option --server is http://, over which kubectl sends no token; give an https:// URL, or " +
        "no token",
    );
  }
  const namespace = values.namespace !== undefined && { namespace: values.namespace };
  const mergeInto = values.merge && { mergeInto: ownKubeconfig(env) };
  return {
    kind: "run",
    options: { access, name: values.name ?? values.cluster, ...namespace, ...mergeInto },
  };
}

/** The file that kubectl would write a new context to. */
function ownKubeconfig(env: Environment): string {
  const isWindows = variableOf(env, "OS") === "Windows_NT";
  const listed = (variableOf(env, "KUBECONFIG") ?? "").split(isWindows ? ";" : ":");
  const paths = listed.filter((path) => path !== "");
  const path = paths.find(isThere) ?? paths.at(-1);
  if (path !== undefined) return path;
  const home = variableOf(env, "HOME") || variableOf(env, "USERPROFILE");
  if (!home) {
    throw new ConfigError(
      "Option --merge finds no kubeconfig: set KUBECONFIG to its path, as HOME is not set",
    );
  }
  return joinPath(joinPath(home, ".kube"), "config");
}
