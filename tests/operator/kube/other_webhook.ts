/** A mutating webhook of somebody else's, which changes pods after ours: in a real API server. */
import type { KubeClient } from "../../../lib/kube/client.ts";
import { mutatingWebhooks } from "../../../lib/kube/resources.ts";
import { issue, makeAuthority } from "../../../lib/operator/injection/authority.ts";

/** A container that it adds. */
export const strangersContainer = { name: "stranger", image: "stranger:1" };

/** What it does to a pod that it sees for the first time. */
export type Change = "adds" | "replaces";

/** Webhooks are called in the order of their configurations' names. */
const name = "zz-stranger";
const dayMs = 24 * 3_600_000;

/**
 * Starts it. The pod's annotation `stranger` says what it does: it `adds` an init container, or
 * `replaces` all that there are.
 */
export async function startOtherWebhook(client: KubeClient): Promise<AsyncDisposable> {
  const validity = { fromMs: Date.now() - dayMs, toMs: Date.now() + dayMs };
  const authority = await makeAuthority(validity);
  const { cert, key } = await issue(authority, ["127.0.0.1"], validity);
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, cert, key, onListen() {} },
    async (request) => Response.json(reviewed(await request.json())),
  );
  const url = `https://127.0.0.1:${server.addr.port}/`;
  const caBundle = new TextEncoder().encode(authority.cert).toBase64();
  await client.apply(mutatingWebhooks, {
    metadata: { name },
    webhooks: [{
      name: "stranger.example.com",
      admissionReviewVersions: ["v1"],
      sideEffects: "None",
      clientConfig: { url, caBundle },
      rules: [{
        ...{ apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["pods"] },
      }],
      matchConditions: [{
        name: "is-asked-for",
        expression: "'stranger' in object.metadata.?annotations.orValue({})",
      }],
    }],
  });
  return server;
}

interface Review {
  readonly request: {
    readonly uid: string;
    readonly object: {
      readonly metadata: { readonly annotations: { readonly stranger: Change } };
      readonly spec: { readonly initContainers?: readonly unknown[] };
    };
  };
}

function reviewed({ request: { uid, object } }: Review): unknown {
  const { initContainers = [] } = object.spec;
  const kept = object.metadata.annotations.stranger === "adds" ? initContainers : [];
  const value = [...kept, strangersContainer];
  const patch = [{ op: "add", path: "/spec/initContainers", value }];
  return {
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    response: {
      ...{ uid, allowed: true, patchType: "JSONPatch" },
      patch: btoa(JSON.stringify(patch)),
    },
  };
}
