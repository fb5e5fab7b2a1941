/** The operator's options: the command line, the environment and the kubeconfig. */
import { deepFreeze } from "./freeze.ts";
import { type KubeConnection, readKubeConnection } from "./kube_connection.ts";
import { type OptionValues, plainValues, type SetValues } from "./options/option_table.ts";
import { type Environment, type Parsed, parseOptions } from "./options/options.ts";
import { operatorProgram, type operatorTable } from "./tables/operator.ts";

const composed = ["kubeconfig", "namespace", "watchNamespaces"] as const;

type PlainOptions = SetValues<Omit<OptionValues<typeof operatorTable>, typeof composed[number]>>;

/** What the operator runs with; frozen. */
export interface OperatorOptions extends PlainOptions {
  readonly connection: KubeConnection;
  /** Where the Lease is. */
  readonly namespace: string;
  /** Empty for all. */
  readonly watchNamespaces: readonly string[];
  readonly warnings: readonly string[];
}

/** @throws {ConfigError} for whatever the operator cannot run with; the message is one line */
export function parseOperatorOptions(
  argv: readonly string[],
  env: Environment,
): Parsed<OperatorOptions> {
  const parsed = parseOptions(operatorProgram, argv, env);
  if (parsed.kind !== "run") return parsed;
  const { values, origins, warnings } = parsed.options;
  const connection = readKubeConnection(values.kubeconfig, origins.kubeconfig, env);
  return {
    kind: "run",
    options: deepFreeze({
      ...plainValues(values, composed),
      connection,
      namespace: values.namespace ?? connection.namespace,
      watchNamespaces: [...new Set(values.watchNamespaces ?? [])],
      warnings,
    }),
  };
}
