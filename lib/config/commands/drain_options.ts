/** The options of `operator drain`. */
import { type OperatorOptions, operatorOptionsOf } from "../operator_options.ts";
import { boolean, choice, duration } from "../options/kinds.ts";
import type { CommandProgram, OptionTable } from "../options/option_table.ts";
import { type Environment, type Parsed, parseOptions } from "../options/options.ts";
import { drainTitle, operatorTable } from "../tables/operator.ts";
import { version } from "../version.ts";

const policies = ["retain", "delete"] as const;

/**
 * `retain`: objects stay, without the operator's finalizer. `delete`: they are deleted, with their
 * entries at relays and their DNS records.
 */
export type DrainPolicy = typeof policies[number];

/** What a drain is asked for. */
export interface DrainOptions {
  readonly policy: DrainPolicy;
  readonly timeoutMs: number;
  readonly isForced: boolean;
  readonly isDryRun: boolean;
  readonly operator: OperatorOptions;
}

const table = {
  policy: {
    name: "policy",
    group: "Drain",
    kind: choice("POLICY", policies),
    default: "retain",
    description:
      "`retain`: removes only the finalizers; objects, agents, entries at relays and DNS records " +
      "stay. `delete`: deletes the objects with all of these",
  },
  timeout: {
    name: "timeout",
    group: "Drain",
    kind: duration({ min: "1ms" }),
    default: "5m",
    description: "Time to clean up what is being deleted",
  },
  force: {
    name: "force",
    group: "Drain",
    kind: boolean,
    default: "false",
    description:
      "After --timeout, remove the finalizers of the objects that are left, with an Event " +
      "`Orphaned` for each, and end with code 0",
  },
  dryRun: {
    name: "dry-run",
    group: "Drain",
    kind: boolean,
    default: "false",
    description: "Print what would be drained, and change nothing",
  },
  ...operatorTable,
} as const satisfies OptionTable;

/** `operator drain`. */
export const drainProgram = {
  ...drainTitle,
  name: "operator drain",
  version,
  usage: "[options]",
  summary:
    "Run it before you uninstall the operator: it removes the operator's finalizers, so that objects " +
    "can be deleted without it. It covers Tunnels, ClusterTunnels and TunnelBindings in the " +
    "namespaces that the operator watches; with --controllers clusters, Clusters and " +
    "RegistrationTokens. It takes the operator's own options, and works whether the operator runs " +
    "or not. It cleans up what is being deleted, and holds the operator's Lease meanwhile, so that " +
    "a running operator pauses. The operator stays paused for two minutes after the end, so that " +
    "you can uninstall it, and then works again.",
  options: table,
  examples: [
    { title: "What there is to drain", command: "operator drain --policy delete --dry-run" },
    {
      title: "Delete everything, relay entries and DNS records included",
      command: "operator drain --policy delete",
    },
    {
      title: "The operator is already gone, and its finalizers block a namespace",
      command: "operator drain --kubeconfig ~/.kube/config --namespace culvert --force \\\n" +
        "      --timeout 30s",
    },
  ],
  exitCodes: [
    { code: 0, meaning: "Nothing is left, or --force removed the last finalizers" },
    { code: 1, meaning: "Timed out, or the API server refused a request; names what is left" },
    { code: 2, meaning: "Did not begin: a wrong option or file" },
  ],
} as const satisfies CommandProgram<typeof table>;

/** @throws {ConfigError} for what can't be used */
export function parseDrainOptions(
  argv: readonly string[],
  env: Environment,
): Parsed<DrainOptions> {
  const parsed = parseOptions(drainProgram, argv, env);
  if (parsed.kind !== "run") return parsed;
  const { policy, timeout, force, dryRun, ...values } = parsed.options.values;
  return {
    kind: "run",
    options: {
      ...{ policy, timeoutMs: timeout, isForced: force, isDryRun: dryRun },
      operator: operatorOptionsOf({ ...parsed.options, values }, env),
    },
  };
}
