/**
 * Ten minutes of nothing, at default settings. A task of its own, `deno task test:idle`: on a busy
 * machine agents lose their relay, which is written.
 */
import { deepEqual } from "node:assert/strict";
import { delay } from "../../../lib/kube/delay.ts";
import { eventually } from "../../support/deadline.ts";
import { type AuditEntry, isWrite } from "./audit_log.ts";
import { hasBind } from "./bind.ts";
import { patienceMs } from "./cluster.ts";
import { entriesAtRelay, Everything } from "./everything.ts";
import { kubeTest, type OwnKube } from "./own_kube.ts";

/** As long as the operator's default --resync: everything is at the relay once more within it. */
const idleMs = 10 * 60_000;
/** Whatever still follows from what was put has been written when so long nothing was. */
const settledMs = 20_000;
/** How often the test itself looks, at most. */
const lookMs = 5_000;

kubeTest(
  "in ten minutes of nothing, an operator with everything in use writes nothing but its Lease",
  async (kube) => {
    await kube.startAudit();
    await using all = await Everything.start(kube);
    await using _agent = await all.connectEdge();
    await all.inject("app");
    all.lookEvery(lookMs);
    const sinceMs = await settled(kube);
    const puts = await all.relayPuts();
    await delay(idleMs);
    await eventually(
      async () => await all.relayPuts() - puts >= entriesAtRelay,
      () => `everything to be put at the relay again\n${all.world.operator!.logText()}`,
      patienceMs,
    );
    const requests = (await kube.auditOf()).filter((entry) => timeOf(entry) > sinceMs);
    deepEqual(requests.filter(isWrite).map(told), []);
    const lists = requests.filter(({ verb, objectRef }) =>
      // The kind that the cluster lacks is looked for.
      verb === "list" && objectRef?.resource !== "dnsendpoints"
    );
    deepEqual(lists.map(told), []);
  },
  hasBind,
);

/** Waits for the last write. @returns its time */
async function settled(kube: OwnKube): Promise<number> {
  let last: AuditEntry | undefined;
  await eventually(
    async () => {
      await delay(lookMs);
      last = (await kube.auditOf()).filter(isWrite).at(-1);
      return last !== undefined && Date.now() - timeOf(last) > settledMs;
    },
    () => `${settledMs} ms without a write; the last was ${last && told(last)}`,
    patienceMs,
  );
  return timeOf(last!);
}

function timeOf({ requestReceivedTimestamp }: AuditEntry): number {
  return Date.parse(requestReceivedTimestamp);
}

function told({ verb, requestURI, requestReceivedTimestamp }: AuditEntry): string {
  return `${requestReceivedTimestamp} ${verb} ${requestURI}`;
}
