/** Conditions (KEP-1623) of our objects: their verdicts, and when their status last changed. */
import type { Condition } from "../kube/objects.ts";

/** What one condition says. */
export interface Verdict {
  readonly status: "True" | "False" | "Unknown";
  /** The reason in CamelCase. */
  readonly reason: string;
  readonly message: string;
}

export function yes(reason: string, message = ""): Verdict {
  return { status: "True", reason, message };
}

export function no(reason: string, message: string): Verdict {
  return { status: "False", reason, message };
}

export function unknown(reason: string, message: string): Verdict {
  return { status: "Unknown", reason, message };
}

/** Conditions for a status; `lastTransitionTime` changes only with the status. */
export function conditionsOf(
  verdicts: Readonly<Record<string, Verdict>>,
  before: readonly Condition[] | undefined,
  generation: number | undefined,
): Condition[] {
  const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  return Object.entries(verdicts).map(([type, { status, reason, message }]) => {
    const last = before?.find((condition) => condition.type === type);
    return {
      ...{ type, status, reason, message: message.slice(0, 1_024) },
      ...generation !== undefined && { observedGeneration: generation },
      lastTransitionTime: last?.status === status ? last.lastTransitionTime : now,
    };
  });
}

/** Sums conditions up: the first that is False, else the first that is Unknown, else True. */
export function readyOf(verdicts: Readonly<Record<string, Verdict>>): Verdict {
  const faults = Object.entries(verdicts).filter(([, { status }]) => status !== "True");
  const [first] = faults.filter(([, { status }]) => status === "False").concat(faults);
  if (!first) return yes("Ready");
  const [type, { reason, message, status }] = first;
  return { status, reason, message: message === "" ? `${type} is not True` : message };
}
