/** Services that ask for a hostname by annotations: each gets a TunnelBinding that it owns. */
import { KubeError } from "../../kube/errors.ts";
import { isOwnedBy, keyOf, type KubeObject, partsOf } from "../../kube/objects.ts";
import { services } from "../../kube/resources.ts";
import { tunnelBindings } from "../api/crds.ts";
import { managedByLabel, manager } from "../api/schema.ts";
import { bindingSpec } from "../api/tunnel_binding.ts";
import { includes, stamped } from "../applied.ts";
import type { Context } from "../context.ts";

const prefix = "culvert.dev/";
/** What a Service can say. A misspelled policy must not publish it under another one. */
const known: ReadonlySet<string> = new Set(
  ["tunnel", "hostname", "port", "path", "protocol", "policy"].map((name) => prefix + name),
);

/** Reconciles the bindings of Services. */
export class ServiceAnnotations {
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  /** Makes, changes or deletes the binding of a Service. */
  async reconcile(key: string): Promise<undefined> {
    const { caches, client } = this.#context;
    const there = caches.get("bindings", bindingKey(key));
    const service = caches.get("services", key) ?? (there && await this.#unlisted(key));
    const asksForOne = service && service.metadata.deletionTimestamp === undefined &&
      annotation(service, "tunnel") !== undefined;
    if (!asksForOne) {
      const [first] = service ? ownAnnotations(service).filter((name) => known.has(name)) : [];
      if (first !== undefined && service!.metadata.deletionTimestamp === undefined) {
        await this.#warn(service!, "InvalidAnnotation", `${first} needs ${prefix}tunnel`);
      }
      const isOurs = there && isOfService(there) && (!service || isOwnedBy(there, service));
      if (!isOurs) return;
      const { name, namespace, uid = "" } = there.metadata;
      return void await client.delete(tunnelBindings, { name, namespace }, uid);
    }
    const found = specOf(service);
    if (typeof found === "string") return await this.#warnInvalid(service, found, there);
    if (there && !isOwnedBy(there, service)) {
      const note =
        `TunnelBinding ${there.metadata.name} is there already and is not this Service's`;
      return await this.#warn(service, "Conflict", note);
    }
    await this.#apply(service, found, there);
  }

  /** A Service that a list has left out still has its binding. */
  async #unlisted(key: string): Promise<KubeObject | undefined> {
    const { caches, client } = this.#context;
    const service = await client.find(services, partsOf(key));
    if (!service) return undefined;
    caches.learn("services", service);
    return caches.get("services", key);
  }

  async #apply(service: KubeObject, spec: unknown, there: KubeObject | undefined): Promise<void> {
    const { client, caches, digest } = this.#context;
    const { name, namespace = "", uid = "" } = service.metadata;
    const wanted = stamped({
      metadata: {
        name: bindingName(name),
        namespace,
        labels: { [managedByLabel]: manager },
        ownerReferences: [{ apiVersion: "v1", kind: "Service", name, uid, controller: true }],
      },
      spec,
    }, digest);
    if (there && includes(there, wanted)) return;
    try {
      caches.learn("bindings", await client.apply(tunnelBindings, wanted));
    } catch (error) {
      // The API server validates what this program can't: rules that compare fields.
      if (!(error instanceof KubeError) || error.status !== 422) throw error;
      await this.#warnInvalid(service, error.message, there);
    }
  }

  /** Says also that a binding stays: users may expect that the other annotations have been applied. */
  async #warnInvalid(
    service: KubeObject,
    fault: string,
    there: KubeObject | undefined,
  ): Promise<undefined> {
    const stays = there && isOwnedBy(there, service)
      ? `; TunnelBinding ${there.metadata.name} stays as it was, with its policy`
      : "";
    await this.#warn(service, "InvalidAnnotation", `${fault}${stays}`);
  }

  async #warn(service: KubeObject, reason: string, note: string): Promise<undefined> {
    const text = { type: "Warning", action: "Publish", reason, note } as const;
    await this.#context.events.report(services, service, text);
  }
}

function annotation({ metadata }: KubeObject, name: string): string | undefined {
  const text = metadata.annotations?.[prefix + name]?.trim();
  return text === "" ? undefined : text;
}

/** The names of annotations that are meant for this program. */
function ownAnnotations({ metadata: { annotations = {} } }: KubeObject): string[] {
  return Object.keys(annotations).filter((name) => name.startsWith(prefix));
}

/** The name of a Service's binding. */
function bindingName(service: string): string {
  return `service-${service}`;
}

function bindingKey(service: string): string {
  const { namespace, name } = partsOf(service);
  return keyOf({ ...namespace !== undefined && { namespace }, name: bindingName(name) });
}

function isOfService({ metadata }: KubeObject): boolean {
  return metadata.labels?.[managedByLabel] === manager &&
    (metadata.ownerReferences ?? []).some(({ kind }) => kind === "Service");
}

/** The Service whose binding this is, by its key. */
export function serviceOfBinding({ metadata }: KubeObject): string | undefined {
  const owner = (metadata.ownerReferences ?? []).find(({ kind }) => kind === "Service");
  return owner && `${metadata.namespace}/${owner.name}`;
}

/** What the annotations ask for, or what is wrong with them. */
function specOf(service: KubeObject): unknown | string {
  const unknown = ownAnnotations(service).find((name) => !known.has(name));
  if (unknown !== undefined) {
    return `There is no annotation ${unknown}; there are ${[...known].join(", ")}`;
  }
  const hostnames = (annotation(service, "hostname") ?? "").split(",").map((name) => name.trim())
    .filter((name) => name !== "");
  if (hostnames.length === 0) {
    return `${prefix}tunnel needs ${prefix}hostname: one hostname, or several with commas between`;
  }
  const { ports = [] } = (service["spec"] ?? {}) as { ports?: readonly { port: number }[] };
  const given = annotation(service, "port");
  if (given === undefined && ports.length !== 1) {
    return `${prefix}port is missing: the Service has ${ports.length} ports`;
  }
  const port = given === undefined ? ports[0]!.port : /^\d+$/.test(given) ? Number(given) : given;
  const policy = annotation(service, "policy");
  const protocol = annotation(service, "protocol");
  const path = annotation(service, "path");
  const spec = {
    tunnelRef: tunnelRefOf(annotation(service, "tunnel")!),
    routes: [{
      name: "service",
      hostnames: [...new Set(hostnames)],
      backend: { service: { name: service.metadata.name, port } },
      ...path !== undefined && { path: { value: path } },
      ...protocol !== undefined && { protocol },
      ...policy !== undefined && { policy },
    }],
  };
  const result = bindingSpec.safeParse(spec);
  if (result.success) return spec;
  const [issue] = result.error.issues;
  return `${issue?.path.join(".")}: ${issue?.message}`;
}

/** `home`, `infra/home` for a Tunnel of another namespace, or `ClusterTunnel/shared`. */
function tunnelRefOf(text: string): unknown {
  const [first = "", second] = text.split("/");
  if (second === undefined) return { kind: "Tunnel", name: first };
  return first === "ClusterTunnel"
    ? { kind: "ClusterTunnel", name: second }
    : { kind: "Tunnel", name: second, namespace: first };
}
