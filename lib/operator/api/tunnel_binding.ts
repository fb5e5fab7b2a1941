/** TunnelBinding: Services of this cluster at hostnames. */
import { z } from "zod";
import {
  CREDENTIAL_HEADER,
  CREDENTIAL_SCHEME,
  FRAMING_FIELDS,
} from "../../config/entries/targets.ts";
import {
  encodedUnreserved,
  maxPathCharacters,
  pathFault,
  pathFaults,
  pathPattern,
  unclearPath,
} from "../../domain/path_rules.ts";
import {
  conditions,
  dataKey,
  hostnamePattern,
  intOrString,
  mapByName,
  objectName,
  policyName,
  withRules,
} from "./schema.ts";

const authorization = withRules(
  z.object({
    secretRef: z.object({ name: objectName, key: dataKey.default("token") })
      .describe("A Secret in the binding's namespace with the label culvert.dev/use=true"),
    header: z.string().min(1).max(64).regex(CREDENTIAL_HEADER).optional()
      .describe("The header field that carries it; default: Authorization"),
    scheme: z.string().max(64).regex(CREDENTIAL_SCHEME).optional()
      .describe(
        "The word before it; default: Bearer with Authorization, none with other fields",
      ),
  }),
  {
    rule: `!has(self.header) || !(self.header.lowerAscii() in ${
      JSON.stringify([...FRAMING_FIELDS])
    })`,
    message: "header must not be a field that belongs to the connection or frames the message",
  },
);

const path = withRules(
  z.object({
    type: z.enum(["Prefix", "Exact"]).default("Prefix")
      .describe("Prefix compares whole segments: /api stands for /api and /api/x, not for /apis"),
    value: z.string().min(1).max(maxPathCharacters)
      .superRefine((value, context) => {
        const message = pathFault(value);
        if (message !== undefined) context.addIssue({ code: "custom", message });
      })
      .describe("The path as requests have it, percent-encoded"),
  }),
  { rule: "self.value.startsWith('/')", message: `path.value ${pathFaults.start}` },
  {
    rule: `!self.value.startsWith('/') || self.value.matches(r"${pathPattern.source}")`,
    message: `path.value ${pathFaults.pattern}`,
  },
  {
    rule: `!self.value.matches(r"${unclearPath.source}")`,
    message: `path.value ${pathFaults.unclear}`,
  },
  {
    rule: `!self.value.matches(r"${encodedUnreserved.source}")`,
    message: `path.value ${pathFaults.encoded}`,
  },
);

const route = withRules(
  z.object({
    name: z.string().min(1).max(63).regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/),
    hostnames: z.array(hostnamePattern).min(1).max(16)
      .meta({ "x-kubernetes-list-type": "set" }),
    path: path.optional()
      .describe("Which paths of the hostnames; without it, all that no other route has"),
    backend: z.object({
      service: z.object({
        name: objectName.describe("A Service in the binding's namespace"),
        port: intOrString.describe("The Service's port, by number or name"),
      }),
    }),
    protocol: z.enum(["http", "https", "tcp"]).default("http")
      .describe("The protocol between the agent and the Service"),
    tls: z.object({
      caRef: z.object({ name: objectName, key: dataKey.default("ca.crt") }).optional()
        .describe("A ConfigMap with the CA of the Service's certificate; without it, public CAs"),
      serverName: z.string().min(1).max(253).optional()
        .describe(
          "Name that the Service's certificate must hold, if it differs from the Service's",
        ),
    }).optional(),
    authorization: authorization.optional()
      .describe("A credential that the agent adds to each request, in place of the caller's"),
    policy: policyName.optional()
      .describe("The relay's policy: who may use the route; public lets everybody in"),
    provider: policyName.optional()
      .describe(
        "The relay's identity provider for the route; default: the relay's default provider",
      ),
    audience: z.string().min(1).max(1024).regex(/^[\x21-\x7e]+$/).optional()
      .describe("What the JWT of an access proxy in front must be for"),
    host: z.enum(["public", "target"]).default("public")
      .describe("What the Service gets as Host: the name that the browser asked for, or its own"),
    responseHeaders: z.object({
      set: z.record(z.string(), z.string()).optional(),
      remove: z.array(z.string()).max(64).optional(),
    }).optional().describe("Changes to responses"),
  }),
  {
    rule: "!has(self.tls) || self.protocol == 'https'",
    message: "tls belongs to protocol: https",
  },
  {
    rule: "!has(self.path) || (self.protocol != 'tcp' && self.host == 'public')",
    message: "path needs protocol http or https, and host must not be target",
  },
  {
    rule: "!has(self.authorization) || self.protocol != 'tcp'",
    message: "authorization needs protocol http or https",
  },
  {
    rule: "self.protocol != 'tcp' || " +
      "(!has(self.responseHeaders) && !has(self.audience) && self.host == 'public')",
    message: "host, audience and responseHeaders have no use for protocol: tcp",
  },
);

/** What a binding asks for. */
export const bindingSpec = z.object({
  tunnelRef: z.object({
    kind: z.enum(["Tunnel", "ClusterTunnel"]).default("Tunnel"),
    name: objectName,
    namespace: z.string().min(1).max(63).optional()
      .describe("Default: the binding's own; a ClusterTunnel has none"),
  }),
  routes: mapByName(z.array(route).min(1).max(64)),
});

const recordType = z.enum(["A", "AAAA", "CNAME"]);

/** What is known of a binding. */
export const bindingStatus = z.object({
  observedGeneration: z.int().optional(),
  registered: z.array(z.object({
    service: z.string(),
    tunnel: z.string(),
    endpoint: z.string(),
    policy: z.string().optional(),
    hostname: z.string().optional(),
  })).max(256).optional().describe("What the relay may hold for this binding"),
  dns: z.array(z.object({
    name: z.string(),
    type: recordType,
    target: z.string(),
    ttl: z.int(),
    zone: z.string(),
    server: z.string(),
    secret: z.string(),
    owner: z.string(),
    keep: z.boolean().optional(),
    proxied: z.boolean().optional(),
    former: z.array(z.object({ type: recordType, target: z.string() })).max(4).optional()
      .describe("What the name may still point at"),
  })).max(1024).optional().describe("Records that may be there for this binding"),
  hostnames: z.string().optional(),
  routes: mapByName(
    z.array(z.object({
      name: z.string(),
      urls: z.array(z.string()).max(16).optional(),
      conditions: conditions.optional(),
    })).max(64),
  ).optional(),
  conditions: conditions.optional(),
});

export type BindingSpec = z.output<typeof bindingSpec>;
export type BindingStatus = z.output<typeof bindingStatus>;
export type RouteSpec = BindingSpec["routes"][number];

/** What bindings have at relays, as their statuses say. */
export function* registeredOf(
  bindings: Iterable<{ readonly [field: string]: unknown }>,
): Generator<NonNullable<BindingStatus["registered"]>[number]> {
  for (const { status } of bindings) yield* ((status ?? {}) as BindingStatus).registered ?? [];
}
