/** What the schemas of our kinds have in common: zod for this program, OpenAPI and CEL for the API server. */
import { z } from "zod";

/** The API group of our kinds. */
export const group = "culvert.dev";
export const version = "v1alpha1";

/** The finalizer of objects that have something outside the cluster. */
export const finalizer = "culvert.dev/registered";
/** On a namespace: the hostnames that its bindings may have, separated by commas. */
export const hostnamesAnnotation = "culvert.dev/hostnames";
/** On Secrets whose values routes may send to their Services: `true`. */
export const useLabel = "culvert.dev/use";
/** On everything that is made for a Tunnel; its value is the Tunnel's name. */
export const tunnelLabel = "culvert.dev/tunnel";
/** On everything that is made for a Tunnel or ClusterTunnel: which of the two it is. */
export const tunnelKindLabel = "culvert.dev/tunnel-kind";
/** On everything that is made here. */
export const managedByLabel = "app.kubernetes.io/managed-by";
/** The value of {@link managedByLabel}, and the operator's name in `managedFields`. */
export const manager = "culvert-operator";
/** Selects everything that is made here, for lists and watches. */
export const managedSelector = `${managedByLabel}=${manager}`;

/** A rule that the API server checks (CEL). */
export interface Rule {
  readonly rule: string;
  readonly message: string;
}

/** A schema with rules for the API server. */
export function withRules<Schema extends z.ZodType>(schema: Schema, ...rules: Rule[]): Schema {
  return schema.meta({ "x-kubernetes-validations": rules });
}

/** A list whose entries have a name each. */
export function mapByName<Schema extends z.ZodType>(schema: Schema): Schema {
  return schema.meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] });
}

/** A part of the core API that is passed on as it is. */
export const passedOn: z.ZodType<Readonly<Record<string, unknown>>> = z.looseObject({})
  .meta({ "x-kubernetes-preserve-unknown-fields": true });

/** A number or a name. */
export const intOrString: z.ZodType<number | string> = z.union([z.int(), z.string()])
  .meta({ "x-kubernetes-int-or-string": true });

export const labelMap: z.ZodType<Record<string, string>> = z.record(z.string(), z.string());

/** The name of an object beside this one. */
export const objectName: z.ZodType<string> = z.string().min(1).max(253)
  .regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/);

/** The key of a Secret or ConfigMap. */
export const dataKey: z.ZodType<string> = z.string().min(1).max(253).regex(/^[A-Za-z0-9._-]+$/);

/** A hostname, or a wildcard for one label. */
export const hostnamePattern: z.ZodType<string> = z.string().min(1).max(253)
  .regex(
    /^(\*\.)?[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/,
  );

/** The name of a policy at the relay. */
export const policyName: z.ZodType<string> = z.string().min(1).max(63)
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/);

/** Conditions as the API server keeps them: one of each type. */
export const conditions = z.array(z.object({
  type: z.string().max(316),
  status: z.enum(["True", "False", "Unknown"]),
  reason: z.string().min(1).max(1024),
  message: z.string().max(32768),
  observedGeneration: z.int().min(0).optional(),
  lastTransitionTime: z.string().meta({ format: "date-time" }),
})).max(16).meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] });
