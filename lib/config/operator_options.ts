/** The operator's options: the command line, the environment and the kubeconfig. */
import { ConfigError } from "./config_error.ts";
import { deepFreeze } from "./freeze.ts";
import { readKubeConnection } from "./kube_connection.ts";
import type { KubeConnection } from "./kubeconfig.ts";
import { type OptionValues, plainValues, type SetValues } from "./options/option_table.ts";
import {
  type Environment,
  type Parsed,
  parseOptions,
  type ReadOptions,
} from "./options/options.ts";
import { operatorProgram, type operatorTable } from "./tables/operator.ts";

const composed = ["kubeconfig", "namespace", "watchNamespaces", "agentClusterRoles"] as const;

type PlainOptions = SetValues<Omit<OptionValues<typeof operatorTable>, typeof composed[number]>>;

/** What the operator runs with; frozen. */
export interface OperatorOptions extends PlainOptions {
  readonly connection: KubeConnection;
  /** Where the Lease is. */
  readonly namespace: string;
  /** Empty for all. */
  readonly watchNamespaces: readonly string[];
  /** The ClusterRoles that agents' ServiceAccounts may be bound to. */
  readonly agentClusterRoles: readonly string[];
  readonly warnings: readonly string[];
}

/** X.509 has whole seconds, and a renewal takes some. */
const minLifetimeMs = 10_000;

/** @throws {ConfigError} for whatever the operator cannot run with; the message is one line */
export function parseOperatorOptions(
  argv: readonly string[],
  env: Environment,
): Parsed<OperatorOptions> {
  const parsed = parseOptions(operatorProgram, argv, env);
  return parsed.kind === "run"
    ? { kind: "run", options: operatorOptionsOf(parsed.options, env) }
    : parsed;
}

/** What the values come to. @throws {ConfigError} */
export function operatorOptionsOf(
  { values, origins, warnings }: ReadOptions<typeof operatorTable>,
  env: Environment,
): OperatorOptions {
  checkLifetimes(values);
  checkControllers(values);
  const connection = readKubeConnection(values.kubeconfig, origins.kubeconfig, env);
  return deepFreeze({
    ...plainValues(values, composed),
    connection,
    namespace: values.namespace ?? connection.namespace,
    watchNamespaces: [...new Set(values.watchNamespaces ?? [])],
    agentClusterRoles: values.agentClusterRoles ?? [],
    warnings,
  });
}

function checkControllers(
  { controllers, injection }: { controllers: readonly string[]; injection: string },
): void {
  if (injection === "off" || controllers.includes("tunnels")) return;
  throw new ConfigError(
    "Option --injection: needs --controllers tunnels, whose Tunnels it injects",
  );
}

function checkLifetimes(
  { webhookCaMs, webhookCertMs }: { webhookCaMs: number; webhookCertMs: number },
): void {
  if (webhookCertMs < minLifetimeMs) {
    throw new ConfigError(
      `Option --webhook-cert-lifetime: must be at least ${minLifetimeMs / 1_000}s`,
    );
  }
  if (webhookCaMs < webhookCertMs) {
    throw new ConfigError(
      "Option --webhook-ca-lifetime: must not be shorter than --webhook-cert-lifetime: a CA outlives " +
        "what it issues",
    );
  }
}
