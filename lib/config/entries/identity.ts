/** The key `identity` of services, and `impersonate` of services, cluster entries and targets. */
import { z } from "zod";
import { isPrintableName } from "../../domain/printable_name.ts";
import {
  type IdentityRules,
  type IdentityValue,
  identityValues,
  type ImpersonationDemands,
  type ImpersonationMap,
  isSystemName,
  type MappedCaller,
  proofKinds,
} from "../../domain/identity.ts";
import { entryOf } from "./json_entries.ts";
import { policyName } from "./policies.ts";
import { isKeysUrl, URL_EXPECTED } from "./providers.ts";

const NAME_EXPECTED = "must be a name of 1 to 253 printable characters";
const GROUPS_EXPECTED = "must be a list of groups of the cluster";
const PREFIX_EXPECTED = "must be a text of at most 64 printable characters without spaces";
const PROVIDER_EXPECTED = "must be the name of an identity provider, or a list of such";
const CALLER_EXPECTED = "must be named token:NAME or certificate:NAME";
const HEADER_EXPECTED = "must be the name of a header, such as X-Forwarded-User";
const VALUE_EXPECTED = `must be one of ${identityValues.join(", ")}`;
const SYSTEM_EXPECTED =
  'must not begin with "system:": Kubernetes gives such names rights of its own';

/** Headers that mean something else to whoever reads a request. */
const takenHeaders: ReadonlySet<string> = new Set([
  ...["host", "cookie", "authorization", "proxy-authorization", "connection", "upgrade", "te"],
  ...["trailer", "transfer-encoding", "content-length", "content-type", "content-encoding"],
  ...["expect", "keep-alive", "origin", "referer", "via", "forwarded", "x-request-id", "range"],
  ...["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"],
  ...["x-forwarded-prefix", "traceparent", "tracestate", "date", "accept", "user-agent"],
]);

/** Families of such. */
const takenPrefixes = ["culvert-", "impersonate-", "sec-", "access-control-", "if-", "proxy-"];

const headerName = z.string().regex(/^[A-Za-z0-9-]{1,64}$/, HEADER_EXPECTED)
  .refine((name) => !isTaken(name.toLowerCase()), "is a header with another meaning");

function isTaken(key: string): boolean {
  return takenHeaders.has(key) || takenPrefixes.some((prefix) => key.startsWith(prefix));
}

const clusterName = z.string(NAME_EXPECTED)
  .refine((name) => name.length <= 253 && isPrintableName(name), NAME_EXPECTED)
  .refine((name) => !isSystemName(name), SYSTEM_EXPECTED);

const groups = z.array(clusterName, GROUPS_EXPECTED).max(64, GROUPS_EXPECTED);

const prefix = z.string(PREFIX_EXPECTED).regex(/^[\x21-\x7e]{0,64}$/, PREFIX_EXPECTED)
  .refine((prefix) => !isSystemName(prefix), SYSTEM_EXPECTED);

const callerName = z.string().regex(/^(?:token|certificate):[\x21-\x7e]{1,253}$/, CALLER_EXPECTED);

/** An object of any keys, of which each must fit a schema. */
function keyed<Value>(key: z.ZodType<string>, value: z.ZodType<Value>) {
  return z.record(z.string(), value).superRefine((record, context) => {
    for (const name of Object.keys(record)) {
      const message = key.safeParse(name).error?.issues[0]?.message;
      if (message !== undefined) context.addIssue({ code: "custom", path: [name], message });
    }
  });
}

/** Whom callers stand for in a cluster. */
export const impersonationSchema: z.ZodType<ImpersonationMap> = entryOf({
  provider: z.union([policyName, z.array(policyName).min(1, PROVIDER_EXPECTED)], PROVIDER_EXPECTED)
    .exactOptional(),
  prefix: prefix.default(""),
  users: z.record(z.string(), clusterName).default({}),
  groups: z.record(z.string(), groups).default({}),
  callers: keyed<MappedCaller>(
    callerName,
    entryOf(
      { user: clusterName.exactOptional(), groups: groups.default([]) },
      "must be an object with user or groups",
    ),
  ).default({}),
}, "must be an object with provider, prefix, users, groups or callers")
  .transform(({ provider, ...map }): ImpersonationMap => ({
    ...map,
    ...provider !== undefined && { providers: [provider].flat() },
  }));

/** What a service's target is told. */
export const identitySchema: z.ZodType<IdentityRules> = entryOf({
  assertion: z.boolean("must be true or false").default(false),
  headers: keyed(headerName, z.enum(identityValues, VALUE_EXPECTED))
    .transform((headers) => Object.entries(headers) as [string, IdentityValue][])
    .refine(haveNoTwins, "has one header twice, in two spellings")
    .default([]),
  impersonate: impersonationSchema.exactOptional(),
}, "must be an object with assertion, headers or impersonate");

function haveNoTwins(headers: readonly (readonly [string, IdentityValue])[]): boolean {
  return new Set(headers.map(([name]) => name.toLowerCase())).size === headers.length;
}

const PROOF_EXPECTED = `must be ${proofKinds.map((kind) => `"${kind}"`).join(" or ")}`;
const AUDIENCE_EXPECTED = "must be a list of at least one audience";
const TEXT_EXPECTED = "must be a string of 1 to 1024 printable ASCII characters";
const KEYS_EXPECTED = "must have either keysFile or jwksUrl";

const text = z.string(TEXT_EXPECTED).regex(/^[\x21-\x7e]{1,1024}$/, TEXT_EXPECTED);
const claim = z.string().min(1).max(253);

/** What an agent demands before it impersonates, in the targets file. */
export const impersonationDemands: z.ZodType<ImpersonationDemands> = entryOf({
  proof: z.enum(proofKinds, PROOF_EXPECTED),
  issuer: text,
  audience: z.array(text, AUDIENCE_EXPECTED).min(1, AUDIENCE_EXPECTED).max(64, AUDIENCE_EXPECTED),
  keysFile: z.string().min(1).exactOptional(),
  jwksUrl: z.string().refine(isKeysUrl, URL_EXPECTED).exactOptional(),
  prefix,
  groups: groups.default([]),
  username: z.union([claim, z.array(claim).min(1).max(8)]).exactOptional(),
  verifiedEmail: claim.exactOptional(),
}, "must be an object with proof, issuer, audience, keysFile or jwksUrl, prefix and groups")
  .refine(({ keysFile, jwksUrl }) => (keysFile === undefined) !== (jwksUrl === undefined), {
    error: KEYS_EXPECTED,
  })
  .refine(({ proof, username }) => proof === "provider" || username === undefined, {
    path: ["username"],
    error: "is for proof: provider; an assertion has the name of the user",
  })
  .refine(({ proof, verifiedEmail }) => proof === "provider" || verifiedEmail === undefined, {
    path: ["verifiedEmail"],
    error: "is for proof: provider; the relay verifies the address before it signs an assertion",
  })
  .transform(({ keysFile, jwksUrl, username, verifiedEmail, ...rest }): ImpersonationDemands => ({
    ...rest,
    keys: keysFile === undefined ? { url: jwksUrl! } : { file: keysFile },
    username: [username ?? ["email", "common_name", "sub"]].flat(),
    verifiedEmail: verifiedEmail === "always"
      ? verifiedEmail
      : { claim: verifiedEmail ?? "email_verified" },
  }));
