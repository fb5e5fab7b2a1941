/** Reviews that the operator's webhook gets: from API servers, and from anybody else in the cluster. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { type AdmissionResult, replyTo } from "../../lib/operator/injection/admission.ts";
import type { Operation } from "../../lib/operator/injection/inject.ts";
import { tunnelSpec } from "../operator/harness.ts";
import { anyBytes } from "../protocol/property.ts";
import type { FuzzTarget } from "./target.ts";

const tunnel = {
  metadata: { name: "home", namespace: "apps" },
  spec: tunnelSpec({
    sidecar: { hostnames: ["web.example.com"] },
    agent: { imagePullSecrets: [{ name: "registry" }] },
  }),
};

/** Names that others have, and those of what is added. */
const anyName = fc.oneof(
  fc.constantFrom("app", "culvert-agent", "culvert-targets", "culvert-relay-token", "registry"),
  fc.string({ maxLength: 5 }),
);
const anyList = fc.uniqueArray(anyName, { maxLength: 4 })
  .map((names) => names.map((name) => ({ name })));
const anyAnnotations = fc.dictionary(
  fc.constantFrom("culvert.dev/port", "culvert.dev/hostname", "culvert.dev/health-port", "other"),
  fc.oneof(fc.constantFrom("80", "0", "65536", "web.example.com", "a, b", ""), fc.string()),
);

const anyPod = fc.record({
  metadata: fc.record({
    labels: fc.record({ "culvert.dev/inject": fc.oneof(fc.constant("home"), anyName) }),
    annotations: fc.oneof(anyAnnotations, fc.jsonValue()),
  }, { requiredKeys: ["labels"] }),
  spec: fc.record({
    containers: anyList,
    initContainers: anyList,
    volumes: anyList,
    imagePullSecrets: anyList,
  }, { requiredKeys: ["containers"] }),
});
type AnyPod = typeof anyPod extends fc.Arbitrary<infer Pod> ? Pod : never;

function reviewOf(object: unknown): Uint8Array {
  const request = {
    ...{ uid: "1", namespace: "apps", operation: "CREATE", object },
    resource: { group: "", resource: "pods" },
  };
  const review = { apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request };
  return new TextEncoder().encode(JSON.stringify(review));
}

interface Answer {
  readonly status: number;
  readonly results: readonly AdmissionResult[];
  readonly allowed?: boolean;
  readonly operations: readonly Operation[];
}

async function answerTo(bytes: Uint8Array): Promise<Answer> {
  const results: AdmissionResult[] = [];
  const { status, body } = await replyTo(bytes, {
    tunnel: (_, name) => Promise.resolve(name === "home" ? tunnel : undefined),
    isNative: () => true,
    agentImage: "agent:test",
    answered: (result) => results.push(result),
  });
  if (status !== 200) return { status, results, operations: [] };
  const { response } = body as { response: { allowed: boolean; patch?: string } };
  const operations = response.patch === undefined ? [] : JSON.parse(atob(response.patch));
  return { status, results, allowed: response.allowed, operations };
}

/** RFC 6902, as far as the patches go: additions to lists of the spec. @throws if one can't be made */
function patched({ spec }: AnyPod, operations: readonly Operation[]): Record<string, unknown[]> {
  const lists = structuredClone(spec) as Record<string, unknown[]>;
  for (const { path, value } of operations) {
    const [, , list = "", place] = path.split("/");
    if (place === "-") {
      assert.ok(lists[list], `${path} of a list that is not there`);
      lists[list].push(value);
    } else {
      assert.equal(lists[list], undefined, `${path} replaces what the pod has`);
      lists[list] = value as unknown[];
    }
  }
  return lists;
}

function namesIn(lists: Record<string, unknown[]>, ...names: readonly string[]): string[] {
  return names.flatMap((list) => (lists[list] ?? []) as { name: string }[]).map(({ name }) => name);
}

/** The targets about admission. */
export const admissionTargets: readonly FuzzTarget[] = [
  {
    name: "reviews",
    claim: "any bytes get one answer with a status, and none but 200 has a patch",
    property: () =>
      fc.asyncProperty(
        fc.oneof(
          anyBytes(60),
          fc.json().map((text) => new TextEncoder().encode(text)),
          fc.jsonValue().map(reviewOf),
        ),
        async (bytes) => {
          const { status, results, operations } = await answerTo(bytes);
          assert.ok([200, 400].includes(status), String(status));
          assert.equal(results.length, 1);
          if (status !== 200) assert.equal(operations.length, 0);
        },
      ),
  },
  {
    name: "pods",
    claim: "a pod that is admitted has one agent, no name twice, and all that it had",
    property: () =>
      fc.asyncProperty(anyPod, async (pod) => {
        const { status, allowed, operations } = await answerTo(reviewOf(pod));
        if (status !== 200 || !allowed) return;
        const lists = patched(pod, operations);
        const agents = namesIn(lists, "containers", "initContainers")
          .filter((name) => name === "culvert-agent");
        const before = namesIn(pod.spec, "containers", "initContainers")
          .filter((name) => name === "culvert-agent");
        assert.equal(agents.length, Math.max(1, before.length));
        for (const list of ["volumes", "imagePullSecrets"]) {
          const names = namesIn(lists, list);
          assert.equal(new Set(names).size, names.length, list);
        }
        for (const [list, values] of Object.entries(pod.spec)) {
          assert.deepEqual(lists[list]!.slice(0, values.length), values);
        }
      }),
  },
];
