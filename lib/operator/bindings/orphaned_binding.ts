/** When the clean-up of a deleted binding is given up. */
import type { KubeObject } from "../../kube/objects.ts";
import { titleOf } from "../../kube/resources.ts";
import { tunnelBindings } from "../api/crds.ts";
import type { Context } from "../context.ts";
import { isOrphaned, reportOrphaned } from "../finalizer.ts";

/** Whether clean-up has failed for `orphanMs`; an Event and the log then say what is left, and why. */
export function isGivenUp(
  context: Context,
  object: KubeObject,
  what: string,
  reason: string,
): boolean {
  if (object.metadata.deletionTimestamp === undefined) return false;
  if (!isOrphaned(context, object)) return false;
  void reportOrphaned(context.events, tunnelBindings, object, {
    action: "Finalize",
    note: `${what} was left: ${reason}`,
  });
  context.log.warn("A binding's services and records were left behind", {
    binding: titleOf(tunnelBindings, object),
    name: what,
    reason,
  });
  return true;
}
