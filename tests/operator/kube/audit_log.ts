/**
 * The audit log of a test's own API server: what it is told to record, and what it has recorded.
 * https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/
 */

/** What a request was about; collections have no name, and cluster-wide kinds no namespace. */
export interface AuditedObject {
  readonly resource: string;
  readonly apiGroup?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly subresource?: string;
}

/** One request, as the API server has answered it. */
export interface AuditEntry {
  readonly auditID: string;
  /** A watch is recorded when it has begun, and again when it has ended. */
  readonly stage: "ResponseStarted" | "ResponseComplete" | "Panic";
  readonly verb: string;
  readonly requestURI: string;
  readonly user: {
    readonly username: string;
    /** Tells two tokens of one ServiceAccount apart: `authentication.kubernetes.io/credential-id`. */
    readonly extra?: Readonly<Record<string, readonly string[]>>;
  };
  readonly userAgent?: string;
  /** Absent for paths that are no objects, such as `/readyz`. */
  readonly objectRef?: AuditedObject;
  readonly responseStatus?: { readonly code: number };
  /** Of Leases alone: what was sent. */
  readonly requestObject?: unknown;
  /** When the request came, and when it was answered, to the microsecond. */
  readonly requestReceivedTimestamp: string;
  readonly stageTimestamp: string;
}

/** Whether a request changes anything but a Lease, which is renewed for ever. */
export function isWrite({ verb, objectRef }: AuditEntry): boolean {
  return !["get", "list", "watch"].includes(verb) && objectRef?.resource !== "leases";
}

/** Leases with their text, because it says who holds them; everything else without, Secrets too. */
const policy = {
  apiVersion: "audit.k8s.io/v1",
  kind: "Policy",
  omitStages: ["RequestReceived"],
  rules: [
    {
      level: "Request",
      resources: [{ group: "coordination.k8s.io", resources: ["leases"] }],
    },
    { level: "Metadata" },
  ],
};

/** Options of an API server that keeps the log in a folder. */
export async function auditOptions(folder: string): Promise<string[]> {
  const policyFile = `${folder}/audit-policy.json`;
  await Deno.writeTextFile(policyFile, JSON.stringify(policy));
  return [
    `--audit-policy-file=${policyFile}`,
    `--audit-log-path=${logFile(folder)}`,
    // Entries are in the file before the request that they are about is over.
    "--audit-log-mode=blocking",
  ];
}

/** Everything that has been recorded, oldest first. */
export async function readAudit(folder: string): Promise<AuditEntry[]> {
  const text = await Deno.readTextFile(logFile(folder));
  // The last line may be half written.
  return text.slice(0, text.lastIndexOf("\n") + 1).split("\n").filter((line) => line !== "")
    .map((line) => JSON.parse(line) as AuditEntry);
}

function logFile(folder: string): string {
  return `${folder}/audit.log`;
}
