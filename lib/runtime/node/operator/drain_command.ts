/** `operator drain`. */
import { type Command, commandOf, type CommandOutput } from "../../../commands/command.ts";
import {
  type DrainOptions,
  type DrainPolicy,
  parseDrainOptions,
} from "../../../config/commands/drain_options.ts";
import type { OperatorOptions } from "../../../config/operator_options.ts";
import { KubeError, KubeUnreachable } from "../../../kube/errors.ts";
import { messageOf } from "../../../message_of.ts";
import { EventRecorder } from "../../../kube/events.ts";
import { type Resource, titleOf } from "../../../kube/resources.ts";
import {
  clusters,
  clusterTunnels,
  registrationTokens,
  tunnelBindings,
  tunnels,
} from "../../../operator/api/crds.ts";
import { Drain, leftText, type Undrained } from "../../../operator/drain.ts";
import { flushLog, setUpLog } from "../log.ts";
import { untilSignalled } from "../program.ts";
import { makeOperator, type OperatorParts } from "./parts.ts";

/** The command, for `operator.ts`. */
export const drainCommand: Command = commandOf({
  word: "drain",
  parse: parseDrainOptions,
  make: drain,
});

/** How long a running operator stays paused after a drain, so that it can be uninstalled. */
const reservedMs = 120_000;

/** Kinds in the order of deletion: a token's holder could register anew, and bindings need their tunnel. */
const kindsOf: Readonly<Record<"tunnels" | "clusters", readonly Resource[]>> = {
  tunnels: [tunnelBindings, tunnels, clusterTunnels],
  clusters: [registrationTokens, clusters],
};

async function drain(options: DrainOptions): Promise<CommandOutput> {
  const { operator, policy } = options;
  const { logLevel: level, logFormat: format, warnings } = operator;
  const log = setUpLog({ program: "operator", level, format });
  const parts = makeOperator(operator, log, { isDraining: true });
  const events = new EventRecorder({
    client: parts.client,
    controller: "culvert.dev/operator",
    instance: parts.instance,
    log,
  });
  const work = new Drain({
    ...{ client: parts.client, policy, events, log },
    // The relay goes on without an operator by what is written for it.
    homes: policy === "delete" && isWatched(operator) ? [operator.namespace] : [],
    forget: async (namespace) => {
      if (operator.controllers.includes("tunnels")) await parts.operator.forget(namespace);
      if (policy === "delete") await parts.management?.forget(namespace);
    },
    kinds: operator.controllers.flatMap((controller) => kindsOf[controller]),
    namespaces: operator.watchNamespaces,
  });
  try {
    const output = options.isDryRun
      ? dryRunText(await work.find(), policy)
      : await drained(options, parts, work);
    return { ...output, warnings: [...warnings, ...output.warnings] };
  } catch (error) {
    if (!(error instanceof KubeError) && !(error instanceof KubeUnreachable)) throw error;
    return failed(`The API server: ${error.message}`);
  } finally {
    parts.close();
    await flushLog();
  }
}

/** Whether the operator works on objects of its own namespace. */
function isWatched({ namespace, watchNamespaces }: OperatorOptions): boolean {
  return watchNamespaces.length === 0 || watchNamespaces.includes(namespace);
}

/**
 * Holds the Lease while deleted objects are cleaned up. If it may, it lets go of what is left when the
 * time is over.
 */
async function drained(
  { timeoutMs, isForced }: DrainOptions,
  { controllers, leader }: OperatorParts,
  work: Drain,
): Promise<CommandOutput> {
  const stop = new AbortController();
  const late = new AbortController();
  let output: CommandOutput | undefined;
  let isActing = false;
  const timer = setTimeout(() => {
    late.abort();
    if (!isActing) stop.abort();
  }, timeoutMs);
  void untilSignalled().then(() => stop.abort());
  const watching = controllers.map((controller) => controller.watch(stop.signal));
  await leader.run(stop.signal, async (term) => {
    isActing = true;
    const acting = controllers.map((controller) => controller.act(term));
    try {
      const left = await work.run(AbortSignal.any([term, late.signal]));
      const isOver = left.length === 0 || late.signal.aborted;
      if (isOver) output = await ended(left, { isForced, work });
      if (output && output.exitCode === undefined) leader.reserve(reservedMs);
    } catch (error) {
      output = failed(messageOf(error));
    }
    isActing = false;
    if (output || late.signal.aborted) stop.abort();
    await Promise.all(acting);
  });
  clearTimeout(timer);
  await Promise.all(watching);
  return output ?? failed(
    late.signal.aborted
      ? "Timed out waiting for the operator's Lease"
      : "Interrupted; the operator continues",
  );
}

async function ended(
  left: readonly Undrained[],
  { isForced, work }: { readonly isForced: boolean; readonly work: Drain },
): Promise<CommandOutput> {
  if (left.length === 0) return { text: "Drained: nothing is left\n", warnings: [] };
  if (!isForced) return failed(`Timed out; these objects are left: ${leftText(left)}`);
  await work.force(left);
  return { text: "", warnings: [`Removed finalizers before clean-up finished: ${leftText(left)}`] };
}

function failed(message: string): CommandOutput {
  return { text: "", warnings: [message], exitCode: 1 };
}

function dryRunText(found: readonly Undrained[], policy: DrainPolicy): CommandOutput {
  const lines = found.map(({ resource, object }) => {
    const isDeleted = object.metadata.deletionTimestamp !== undefined;
    const verb = isDeleted ? "wait for" : policy === "delete" ? "delete" : "release";
    return `Would ${verb} ${titleOf(resource, object)}\n`;
  });
  return { text: lines.length > 0 ? lines.join("") : "Nothing to drain\n", warnings: [] };
}
