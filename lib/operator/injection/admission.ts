/** The webhook: answers the API server's AdmissionReviews about pods that are to get an agent. */
import { z } from "zod";
import { readTunnel } from "../tunnel.ts";
import { tunnels } from "../api/crds.ts";
import type { KubeObject } from "../../kube/objects.ts";
import { messageOf } from "../../message_of.ts";
import {
  injectionPatch,
  InjectionRefused,
  isInjected,
  type Operation,
  type Pod,
  tunnelNameOf,
} from "./inject.ts";
import { sidecarsOf } from "./sidecar.ts";

/** Where the API server sends its reviews. */
export const webhookPath = "/mutate-pods";

/** What became of a review. */
export type AdmissionResult = "injected" | "unchanged" | "refused" | "failed";

/** What the webhook works with. */
export interface AdmissionParts {
  /** A Tunnel as it is now; undefined if there is none. */
  readonly tunnel: (namespace: string, name: string) => Promise<KubeObject | undefined>;
  /** Whether the cluster has native sidecars. */
  readonly isNative: () => boolean;
  readonly agentImage: string;
  readonly answered: (result: AdmissionResult, reason?: string) => void;
}

/** A pod that etcd takes is smaller, and so is what the API server takes from anybody. */
export const maxReviewBytes = 4 * 1024 * 1024;
const maxRefusalCharacters = 1_024;

const named = z.looseObject({ name: z.string() });
const strings = z.record(z.string(), z.string());
const podSchema = z.looseObject({
  metadata: z.looseObject({ labels: strings.optional(), annotations: strings.optional() })
    .optional(),
  spec: z.looseObject({
    containers: z.array(named).optional(),
    initContainers: z.array(named).optional(),
    volumes: z.array(named).optional(),
    imagePullSecrets: z.array(named).optional(),
  }).optional(),
});
const reviewSchema = z.looseObject({
  apiVersion: z.literal("admission.k8s.io/v1"),
  kind: z.literal("AdmissionReview"),
  request: z.looseObject({
    uid: z.string().min(1).max(256),
    namespace: z.string().max(63).regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/),
    operation: z.string(),
    resource: z.looseObject({ group: z.string(), resource: z.string() }),
    subResource: z.string().optional(),
    object: podSchema.nullish(),
  }),
});

type AdmissionRequest = z.output<typeof reviewSchema>["request"];

/** What the webhook answers over HTTP. */
export interface AdmissionReply {
  readonly status: 200 | 400 | 408 | 413 | 503;
  readonly body: unknown;
}

/** Why a review could not be read. */
export type ReviewFault = "too_large" | "cut" | "too_slow" | "no_room";

/** How long a review may take to come: the API server gives up sooner. */
export const maxReviewMs = 5_000;

const faults: Readonly<Record<ReviewFault, readonly [AdmissionReply["status"], string]>> = {
  too_large: [413, `The review has more than ${maxReviewBytes} bytes`],
  cut: [400, "The review was cut"],
  too_slow: [408, `The review has not come within ${maxReviewMs / 1_000} s`],
  no_room: [503, "Too many reviews come at once; try again"],
};

/** Answers one review. */
export async function replyTo(
  bytes: Uint8Array | ReviewFault,
  parts: AdmissionParts,
): Promise<AdmissionReply> {
  const failed = (status: AdmissionReply["status"], body: string): AdmissionReply => {
    parts.answered("failed", body);
    return { status, body };
  };
  if (typeof bytes === "string") return failed(...faults[bytes]);
  const { success, data } = reviewSchema.safeParse(parsed(bytes));
  if (!success) {
    return failed(400, "The body is not an AdmissionReview (admission.k8s.io/v1) of a pod");
  }
  try {
    return { status: 200, body: reviewed(data.request, await answerTo(data.request, parts)) };
  } catch (error) {
    // The API server refuses the pod for now, and whoever made it tries again.
    return failed(503, messageOf(error));
  }
}

type Answer = { readonly patch?: readonly Operation[] } | { readonly refusal: string };

async function answerTo(request: AdmissionRequest, parts: AdmissionParts): Promise<Answer> {
  const { object, operation, resource, subResource = "" } = request;
  const isNewPod = operation === "CREATE" && resource.group === "" &&
    resource.resource === "pods" && subResource === "";
  if (!isNewPod || !object || isInjected(object as Pod)) {
    parts.answered("unchanged");
    return {};
  }
  try {
    const patch = await patchOf(object as Pod, request.namespace, parts);
    parts.answered("injected");
    return { patch };
  } catch (error) {
    if (!(error instanceof InjectionRefused)) throw error;
    parts.answered("refused", error.message);
    return { refusal: error.message };
  }
}

async function patchOf(pod: Pod, namespace: string, parts: AdmissionParts): Promise<Operation[]> {
  const name = tunnelNameOf(pod);
  const object = await parts.tunnel(namespace, name);
  if (!object) {
    throw new InjectionRefused(
      `There is no Tunnel ${JSON.stringify(name)} in namespace ${namespace}; ` +
        "a pod gets the agent of a Tunnel of its own namespace",
    );
  }
  const tunnel = readTunnel(tunnels, object, namespace);
  const { spec } = tunnel;
  if (tunnel.isDeleted) throw new InjectionRefused(`Tunnel ${name} is being deleted`);
  if (!spec) throw new InjectionRefused(`The spec of Tunnel ${name} can't be read`);
  const readable = { ...tunnel, spec };
  const sidecars = sidecarsOf(readable, parts.agentImage);
  return injectionPatch(pod, readable, sidecars, parts.isNative());
}

function reviewed({ uid }: AdmissionRequest, answer: Answer): Record<string, unknown> {
  const refused = "refusal" in answer && {
    allowed: false,
    status: {
      ...{ status: "Failure", reason: "Forbidden", code: 403 },
      message: answer.refusal.slice(0, maxRefusalCharacters),
    },
  };
  const patched = "patch" in answer && answer.patch !== undefined && {
    patchType: "JSONPatch",
    patch: new TextEncoder().encode(JSON.stringify(answer.patch)).toBase64(),
  };
  return {
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    response: { uid, allowed: true, ...patched, ...refused },
  };
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}
