/** The keys of a service's entry, and what they must be together. */
import { z } from "zod";
import { AddressRanges } from "../../domain/address_ranges.ts";
import { impersonations } from "../../domain/cluster.ts";
import { publicPolicy } from "../../domain/policy.ts";
import { serviceKinds } from "../../domain/service.ts";
import { parseListenAddress } from "../options/address.ts";
import { duration } from "../options/kinds.ts";
import { clusterIdSchema, limitsSchema, TIMEOUT_EXPECTED } from "./clusters.ts";
import { hostnames } from "./hostnames.ts";
import { identitySchema } from "./identity.ts";
import { entryOf } from "./json_entries.ts";
import { pathList } from "./path_list.ts";
import { policyName } from "./policies.ts";
import { targetName } from "./target_name.ts";

const LISTEN_EXPECTED = "must be an address to listen on such as 127.0.0.1:15432";
const ALLOW_EXPECTED = "must be an IP address or a range such as 10.0.0.0/8";
const SERVICE_EXPECTED = "must be an object with name, hostnames, cluster, target and policy";
const POLICY_EXPECTED =
  `is missing: it must be "${publicPolicy}", which lets everybody in, or the name of a policy`;
const HEADERS_EXPECTED = "must be an object with set, remove or both";
const HEADER_EXPECTED = "must be the name of a header field";
const VALUE_EXPECTED = "must be printable ASCII without spaces at its ends";
const AUDIENCE_EXPECTED = "must be the claim aud of the JWTs, 1 to 1024 printable characters";
const RECENT_EXPECTED = "must be a whole number from 0 to 1000";
const ORIGIN_EXPECTED = "must be an origin such as https://app.example.com, without a path";

/** Fields that frame a response, and those that only culvert or the app may set. */
const UNTOUCHABLE = new Set([
  ...["connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer"],
  ...["transfer-encoding", "upgrade", "set-cookie", "x-request-id"],
]);

const headerName = z.string(HEADER_EXPECTED)
  .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/, HEADER_EXPECTED)
  .refine((name) => !isUntouchable(name.toLowerCase()), {
    error: "frames the response or belongs to culvert or the app; it cannot be changed",
  });

const headerValue = z.string(VALUE_EXPECTED)
  .regex(/^(?:[\x21-\x7e](?:[\x20-\x7e]{0,4094}[\x21-\x7e])?)?$/, VALUE_EXPECTED);

const headerFields = z.record(z.string(), headerValue, "must be an object of header fields")
  .superRefine((fields, context) => {
    for (const name of Object.keys(fields)) {
      const { error } = headerName.safeParse(name);
      if (!error) continue;
      context.addIssue({ code: "custom", path: [name], message: error.issues[0]!.message });
    }
  });

const origin = z.string(ORIGIN_EXPECTED).refine((text) => {
  const url = URL.parse(text);
  return url !== null && /^https?:$/.test(url.protocol) && url.origin === text;
}, ORIGIN_EXPECTED);

/** The keys of a service. */
export const serviceShape = {
  name: policyName,
  hostnames,
  cluster: clusterIdSchema,
  target: targetName,
  kind: z.enum(serviceKinds, `must be one of ${serviceKinds.join(", ")}`).default("http"),
  policy: z.string(POLICY_EXPECTED).min(1, POLICY_EXPECTED),
  provider: policyName.exactOptional(),
  audience: z.string(AUDIENCE_EXPECTED).regex(/^[\x21-\x7e]{1,1024}$/, AUDIENCE_EXPECTED)
    .exactOptional(),
  identity: identitySchema.exactOptional(),
  anonymousPaths: pathList(64).exactOptional(),
  serviceWorkers: z.boolean("must be true or false").exactOptional(),
  frame: z.array(origin, "must be a list of origins").exactOptional(),
  host: z.enum(["public", "target"], 'must be "public" or "target"').exactOptional(),
  authorization: z.enum(["culvert", "app"], 'must be "culvert" or "app"').exactOptional(),
  impersonation: z.enum(impersonations, 'must be "refuse", "strip" or "forward"').exactOptional(),
  listen: z.string(LISTEN_EXPECTED).transform((text, context) => {
    const address = parseListenAddress(text);
    if (!address) context.addIssue({ code: "custom", message: LISTEN_EXPECTED });
    return address ?? z.NEVER;
  }).exactOptional(),
  listenTls: z.boolean("must be true or false").exactOptional(),
  allow: z.array(
    z.string(ALLOW_EXPECTED).refine(
      (text) => !text.includes(",") && AddressRanges.parse(text) !== undefined,
      ALLOW_EXPECTED,
    ),
    "must be a list of addresses and ranges of them",
  ).min(1, "must list an address; without it, nobody could connect").exactOptional(),
  responseTimeout: z.string(TIMEOUT_EXPECTED).pipe(duration({ min: "0" }).schema).exactOptional(),
  limits: limitsSchema.exactOptional(),
  recentRequests: z.int(RECENT_EXPECTED).min(0, RECENT_EXPECTED).max(1_000, RECENT_EXPECTED)
    .exactOptional(),
  headers: entryOf({
    set: headerFields.exactOptional(),
    remove: z.array(headerName, "must be a list of header fields").exactOptional(),
  }, HEADERS_EXPECTED).exactOptional(),
  cors: entryOf({
    origins: z.array(origin, "must be a list of origins").min(1, "must be a list of origins"),
  }, "must be an object with origins").exactOptional(),
};

/** What the keys of a service must be together. */
export function checkServiceKeys(entry: ServiceKeys, context: z.core.$RefinementCtx): void {
  const refuse = (path: string, message: string) =>
    context.addIssue({ code: "custom", path: [path], message });
  if (entry.listen && entry.kind !== "tcp") refuse("listen", "is for services of kind tcp");
  if (entry.allow && !entry.listen) refuse("allow", "needs listen as well");
  if (entry.listenTls !== undefined && !entry.listen) refuse("listenTls", "needs listen as well");
  if (entry.listen && !entry.allow && entry.policy === publicPolicy) {
    refuse("listen", 'needs allow: with policy "public" the port would be open to everybody');
  }
  // What goes through unread can't be changed.
  for (const key of entry.kind === "http" ? [] : HTTP_KEYS) {
    if (entry[key] === undefined) continue;
    context.addIssue({ code: "custom", path: [key], message: "is for services of kind http" });
  }
}

/** A service of the services file. */
export const serviceSchema = entryOf(serviceShape, SERVICE_EXPECTED).superRefine(checkServiceKeys);

/** Keys of services whose requests the relay reads. */
const HTTP_KEYS = [
  ...["host", "authorization", "impersonation", "responseTimeout", "headers", "cors"] as const,
  ...["audience", "identity", "anonymousPaths", "serviceWorkers", "frame"] as const,
];

/** A service's keys, read. */
export type ServiceKeys = z.output<z.ZodObject<typeof serviceShape, z.core.$strict>>;

function isUntouchable(name: string): boolean {
  return UNTOUCHABLE.has(name) || name.startsWith("culvert-");
}
