/** The relay's options about callers. */
import { addressOfUrl, isLoopback } from "../options/address.ts";
import { choice, fileOrJson, type Kind, parsedBy } from "../options/kinds.ts";
import type { OptionTable } from "../options/option_table.ts";

const NAME_EXPECTED = "must be 1 to 1024 printable ASCII characters without spaces";
const URL_EXPECTED =
  "must be an https:// URL without a user, such as https://issuer.example/keys; http:// is for " +
  "loopback only";
const HOSTS_EXPECTED = "must be names such as relay.example.com, with commas between, or *";

const issuerName: Kind<string> = {
  placeholder: "NAME",
  schema: parsedBy((text) => /^[\x21-\x7e]{1,1024}$/.test(text) ? text : undefined, NAME_EXPECTED),
};

const keysUrl: Kind<string> = { placeholder: "URL", schema: parsedBy(parseKeysUrl, URL_EXPECTED) };

/** Undefined is any. */
export const hostNames: Kind<{ readonly names: readonly string[] | undefined }> = {
  placeholder: "NAMES",
  schema: parsedBy((text) => {
    if (text === "*") return { names: undefined };
    const names = text.toLowerCase().split(",");
    return names.every((name) => /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/.test(name))
      ? { names }
      : undefined;
  }, HOSTS_EXPECTED),
};

/** The options about callers, together in the help text. */
export const callerTable = {
  callers: {
    name: "callers",
    env: "CALLERS",
    group: "Callers",
    kind: choice("MODE", ["open", "known"]),
    description: "`known`: callers need a credential, see below; `open`: whoever reaches the " +
      "internal listener may call. Without it: `known` if tokens, JWTs or rules are given, else " +
      "`open` if that listener is on loopback or demands client certificates; else the relay does " +
      "not start",
    see: "authentication.md#callers",
  },
  hosts: {
    name: "hosts",
    env: "HOSTS",
    group: "Callers",
    kind: hostNames,
    description: "Names by which callers may address the relay, separated by commas, besides IP " +
      "addresses and `localhost`; requests for other names get 421; `*` is any. Without it: none " +
      "where callers are open on loopback, which guards against DNS rebinding by pages in a browser " +
      "of this machine; else any",
    see: "authentication.md#callers",
  },
  callerTokens: {
    name: "caller-tokens",
    env: "CALLER_TOKENS",
    group: "Callers",
    kind: fileOrJson,
    isSecret: true,
    description: "Callers' bearer tokens, as the path of a JSON file or as JSON: an array of " +
      '`{"name", "token" or "tokenSha256", "clusters": ["ID", "PREFIX*"], "expires"}`',
    see: "authentication.md#callers",
    isEdgeSetting: true,
  },
  callerCertificates: {
    name: "caller-certificates",
    env: "CALLER_CERTIFICATES",
    group: "Callers",
    kind: fileOrJson,
    description: "Which client certificates may call, as the path of a JSON file or as JSON: an " +
      'array of `{"name", "clusters"}`; needs `--tls-client-ca` or `--caller-ca`',
    see: "authentication.md#callers",
  },
  callerJwtIssuer: {
    name: "caller-jwt-issuer",
    env: "CALLER_JWT_ISSUER",
    group: "Callers",
    kind: issuerName,
    description: "Accept JWTs of this issuer (claim `iss`, compared exactly); needs the " +
      "three options that follow",
    isEdgeSetting: true,
  },
  callerJwtAudience: {
    name: "caller-jwt-audience",
    env: "CALLER_JWT_AUDIENCE",
    group: "Callers",
    kind: issuerName,
    description: "Audience that a JWT must name (claim `aud`)",
    isEdgeSetting: true,
  },
  callerJwksUrl: {
    name: "caller-jwks-url",
    env: "CALLER_JWKS_URL",
    group: "Callers",
    kind: keysUrl,
    description: "URL of the issuer's public keys (JWKS): `https://`, or `http://` on loopback",
    isEdgeSetting: true,
  },
  callerJwtRules: {
    name: "caller-jwt-rules",
    env: "CALLER_JWT_RULES",
    group: "Callers",
    kind: fileOrJson,
    description: "Which clusters a JWT opens, as the path of a JSON file or as JSON: an array of " +
      '`{"claim", "value", "clusters"}`',
    isEdgeSetting: true,
  },
} as const satisfies OptionTable;

function parseKeysUrl(text: string): string | undefined {
  const url = URL.parse(text);
  if (!url || url.username !== "" || url.password !== "" || url.hash !== "") return undefined;
  const isHere = url.protocol === "http:" && isLoopback(addressOfUrl(url).hostname);
  return url.protocol === "https:" || isHere ? url.href : undefined;
}
