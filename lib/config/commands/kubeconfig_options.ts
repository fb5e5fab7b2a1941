/** The options of `relay kubeconfig`. */
import { z } from "zod";
import {
  type Access,
  accessAt,
  accessTable,
  displayName,
  namespaceName,
} from "./access_options.ts";
import { httpService } from "../tables/access.ts";
import { ConfigError } from "../config_error.ts";
import { isThere, joinPath } from "../files.ts";
import { variableOf } from "../options/environment.ts";
import { boolean, path } from "../options/kinds.ts";
import type { CommandProgram, OptionTable } from "../options/option_table.ts";
import {
  type Environment,
  type Parsed,
  parseOptions,
  type ReadOptions,
} from "../options/options.ts";
import { commandExitCodes } from "../tables/shared.ts";
import { version } from "../version.ts";

/** What a kubeconfig is made of. */
export interface KubeconfigOptions {
  readonly access: Access;
  /** Names its cluster, user and context. */
  readonly name: string;
  /** The context's namespace; undefined means Kubernetes' `default`. */
  readonly namespace?: string | undefined;
  /** The kubeconfig to put it in; undefined prints it. */
  readonly mergeInto?: string | undefined;
}

const { cluster, server, ...callerTable } = accessTable;
const { isRequired: _isRequired, ...optionalServer } = server;

const table = {
  cluster,
  server: optionalServer,
  service: {
    name: "service",
    group: "Relay",
    kind: httpService,
    description: "Instead of `--server`: the hostname of a service whose target is the cluster's " +
      "API server, or its URL",
    see: "command-line.md#kubectl-for-people",
  },
  ...callerTable,
  login: {
    name: "login",
    group: "Sign-in",
    kind: httpService,
    description: "Let kubectl ask `access kubectl-token` for a token of the person who signs in: " +
      "the relay's login host, or its URL. With `--service`, that service's own hostname is enough",
    see: "command-line.md#kubectl-for-people",
  },
  loginCa: {
    name: "login-ca",
    group: "Sign-in",
    kind: path,
    description: "CA certificates in PEM for the login host, by the path at which kubectl's " +
      "machine has them; without it, public CAs",
  },
  loginCommand: {
    name: "login-command",
    group: "Sign-in",
    kind: { placeholder: "PROGRAM", schema: z.string() },
    default: "access",
    description: "The program `access` on kubectl's machine: its name, or its path",
  },
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
      "current one. It writes to the first existing file of `KUBECONFIG`, or its last, or " +
      "`~/.kube/config`",
  },
} as const satisfies OptionTable;

/** The command as its help text presents it. */
export const kubeconfigProgram = {
  name: "relay kubeconfig",
  word: "kubeconfig",
  title: "Print a kubeconfig for kubectl, Helm and others to reach a cluster through the relay",
  version,
  usage: "CLUSTER --server URL|--service HOSTNAME [options]",
  summary: "Prints a kubeconfig with which kubectl, Helm and other clients reach a cluster " +
    "through the relay, at URL/tunnel/CLUSTER. It contains the certificates, key and token: keep it secret. It has the caller's credential for the " +
    "relay, never one of the cluster. kubectl sends a token over https:// only. With --login it holds no credential, and kubectl asks its user to sign in.",
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
      title: "For people who sign in",
      command: "relay kubeconfig dev --service kube.example.com --login kube.example.com",
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
  const access = { ...accessOf(parsed.options), ...loginOf(parsed.options) };
  const showsToken = access.token !== undefined || access.login !== undefined;
  if (showsToken && access.tls === undefined) {
    const option = parsed.options.values.service === undefined ? "--server" : "--service";
    throw new ConfigError(
      `Option ${option} is http://, over which kubectl sends no token; give an https:// URL, or ` +
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

/** @throws {ConfigError} for two addresses, or none */
function accessOf(read: ReadOptions<typeof table>): Access {
  const { values: { server, service, cluster }, origins } = read;
  if (service === undefined) {
    if (server === undefined) {
      throw new ConfigError("Option --server is required: give --server URL");
    }
    return accessAt(read, `${server}/tunnel/${cluster}`);
  }
  if (server !== undefined) throw new ConfigError(`${origins.service} can't go with --server`);
  return accessAt(read, service.origin);
}

/** @throws {ConfigError} for what does not go with signing in */
function loginOf({ values, origins }: ReadOptions<typeof table>): Pick<Access, "login"> {
  const { login, loginCa, loginCommand, service, cluster } = values;
  if (login === undefined) {
    if (loginCa === undefined) return {};
    throw new ConfigError(`${origins.loginCa} needs --login as well`);
  }
  for (const field of ["token", "tokenFile"] as const) {
    if (values[field] === undefined) continue;
    throw new ConfigError(`${origins[field]} can't go with --login, which gets a token`);
  }
  const isOwn = service?.origin === login.origin;
  if (service !== undefined && !isOwn) {
    throw new ConfigError(`${origins.login} must be that of --service: its token is for that host`);
  }
  const host = login.protocol === "https:" ? login.host : login.origin;
  const args = [
    ...["kubectl-token", host],
    ...service === undefined ? ["--cluster", cluster] : [],
    ...loginCa === undefined ? [] : ["--ca", loginCa],
  ];
  return { login: { command: loginCommand, args } };
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
      "Option --merge finds no kubeconfig: set HOME, or KUBECONFIG to its path",
    );
  }
  return joinPath(joinPath(home, ".kube"), "config");
}
