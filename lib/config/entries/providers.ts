/** Providers in the services files: who vouches for people. */
import { z } from "zod";
import type { ClaimNames, Provider, VerifiedEmail } from "../../domain/provider.ts";
import { callerJwtProvider } from "../../domain/provider.ts";
import { ConfigError } from "../config_error.ts";
import { addressOfUrl, isLoopback } from "../options/address.ts";
import { entryOf } from "./json_entries.ts";
import { claimPath, policyName } from "./policies.ts";

/** What such a URL must be, for messages. */
export const URL_EXPECTED =
  "must be an https:// URL without a user, query or fragment; http:// is for loopback only";
const HEADER_EXPECTED = "must be the name of a header, such as Cf-Access-Jwt-Assertion";
const CLAIM_EXPECTED = "must be a claim's name";
const USERNAME_EXPECTED =
  "must be a claim's name, or a list of such: the first that is there counts";
const TEXT_EXPECTED = "must be a string of 1 to 1024 printable ASCII characters";
const PROVIDER_EXPECTED = 'must be an object with name, kind ("oidc" or "jwt-header") and issuer';
const SECRETS_EXPECTED = "has clientSecret and clientSecretFile; give one of them";

/** Headers that mean something else, which a provider's JWT cannot be in. */
const takenHeaders = new Set([
  ...["authorization", "cookie", "set-cookie", "host", "connection", "upgrade", "te", "trailer"],
  ...["content-length", "content-type", "transfer-encoding", "origin", "via"],
]);

const text = z.string(TEXT_EXPECTED).regex(/^[\x21-\x7e]{1,1024}$/, TEXT_EXPECTED);
const claim = z.string(CLAIM_EXPECTED).min(1, CLAIM_EXPECTED).max(253, CLAIM_EXPECTED);
const url = z.string(URL_EXPECTED).refine(isKeysUrl, URL_EXPECTED);

/** Whether keys can be fetched from a URL: by `https:`, and by `http:` where nobody is in between. */
export function isKeysUrl(text: string): boolean {
  const url = URL.parse(text);
  if (!url || url.username !== "" || url.password !== "" || url.hash !== "") return false;
  const isHere = url.protocol === "http:" && isLoopback(addressOfUrl(url).hostname);
  return url.protocol === "https:" || isHere;
}

const shared = {
  name: policyName.refine((name) => name !== callerJwtProvider, {
    error:
      `must be another than "${callerJwtProvider}", which is the issuer of --caller-jwt-issuer`,
  }),
  username: z.union(
    [claim, z.array(claim).min(1, USERNAME_EXPECTED).max(8, USERNAME_EXPECTED)],
    USERNAME_EXPECTED,
  )
    .exactOptional(),
  groups: claimPath.exactOptional(),
  verifiedEmail: claim.exactOptional(),
};

const jwtHeader = entryOf({
  ...shared,
  kind: z.literal("jwt-header"),
  issuer: text,
  header: z.string(HEADER_EXPECTED).regex(/^[A-Za-z0-9-]{1,64}$/, HEADER_EXPECTED)
    .refine((name) => !takenHeaders.has(name.toLowerCase()), "is a header with another meaning")
    .refine((name) => !/^culvert-/i.test(name), "is a header of culvert's own"),
  jwksUrl: url,
}, PROVIDER_EXPECTED);

const oidc = entryOf({
  ...shared,
  kind: z.literal("oidc"),
  issuer: url,
  clientId: text,
  clientSecret: text.exactOptional(),
  clientSecretFile: z.string().min(1).exactOptional(),
  scopes: z.array(text).exactOptional(),
}, PROVIDER_EXPECTED).refine(
  ({ clientSecret, clientSecretFile }) =>
    clientSecret === undefined || clientSecretFile === undefined,
  { error: SECRETS_EXPECTED },
);

/** One provider. */
export const providerSchema: z.ZodType<Provider> = z.unknown().transform((value, context) => {
  const kind = typeof value === "object" && value !== null && "kind" in value
    ? value.kind
    : undefined;
  if (kind === "jwt-header") {
    const result = jwtHeader.safeParse(value);
    if (result.success) return toJwtHeader(result.data);
    return takeIssues(result.error, context);
  }
  if (kind === "oidc") {
    const result = oidc.safeParse(value);
    if (result.success) return toOidc(result.data);
    return takeIssues(result.error, context);
  }
  const message = kind === undefined ? PROVIDER_EXPECTED : 'must be "oidc" or "jwt-header"';
  context.addIssue({ code: "custom", path: kind === undefined ? [] : ["kind"], message });
  return z.NEVER;
});

function takeIssues(error: z.ZodError, context: z.core.$RefinementCtx): never {
  for (const { path, message } of error.issues) {
    context.addIssue({ code: "custom", path, message });
  }
  return z.NEVER;
}

/** An access proxy names people by their address, and programs by their token's name. */
function toJwtHeader(
  { username, groups, verifiedEmail, ...rest }: z.output<typeof jwtHeader>,
): Provider {
  const usual = ["email", "common_name", "sub"];
  return {
    ...rest,
    claims: claimNames({ username, groups, verifiedEmail }, usual, "unlessDenied"),
  };
}

function toOidc(
  { username, groups, verifiedEmail, scopes, ...rest }: z.output<typeof oidc>,
): Provider {
  const email: VerifiedEmail = { claim: "email_verified" };
  return {
    ...rest,
    scopes: scopes ?? ["openid", "email", "profile"],
    claims: claimNames({ username, groups, verifiedEmail }, ["email", "sub"], email),
  };
}

interface GivenNames {
  readonly username: string | string[] | undefined;
  readonly groups: ClaimNames["groups"] | undefined;
  readonly verifiedEmail: string | undefined;
}

function claimNames(
  { username, groups, verifiedEmail }: GivenNames,
  usual: readonly string[],
  usualEmail: VerifiedEmail,
): ClaimNames {
  return {
    username: username === undefined ? usual : [username].flat(),
    groups: groups ?? "groups",
    verifiedEmail: verifiedEmail === undefined
      ? usualEmail
      : verifiedEmail === "always"
      ? "always"
      : { claim: verifiedEmail },
  };
}

/** Checks providers among themselves. @throws {ConfigError} */
export function checkProviders(providers: readonly Provider[], source: string): void {
  for (const [index, { name }] of providers.entries()) {
    if (providers.findIndex((other) => other.name === name) === index) continue;
    throw new ConfigError(
      `${source}, providers: entry ${index + 1} ("${name}"): has the name of another provider`,
    );
  }
}

/**
 * Checks that a service whose provider puts a JWT into a header names its audience: without one, the
 * JWT of any application of the same provider would open it.
 *
 * @throws {ConfigError}
 */
export function checkAudience(
  where: string,
  provider: Provider | undefined,
  audience: string | undefined,
  source: string,
): void {
  if (provider?.kind === "jwt-header" && audience === undefined) {
    throw new ConfigError(
      `${source}: ${where}: needs audience: without it, a JWT for any other application of ` +
        `provider "${provider.name}" would open it`,
    );
  }
  if (provider?.kind !== "jwt-header" && audience !== undefined) {
    throw new ConfigError(
      `${source}: ${where}: audience: is for providers of kind jwt-header; a provider of kind oidc ` +
        "has its clientId",
    );
  }
}
