/** The targets file: what an agent may dial, by name. Reads text and knows no files. */
import { z } from "zod";
import { pathFault, pathRuleKey } from "../../domain/path_rules.ts";
import type { PathTarget, TargetEntry } from "../../domain/target.ts";
import { ConfigError } from "../config_error.ts";
import { parseHost, parseTargetAddress } from "../options/address.ts";
import { parsedBy, TARGET_EXPECTED } from "../options/kinds.ts";
import { impersonationDemands } from "./identity.ts";
import { entryOf } from "./json_entries.ts";
import { describeIssues, numbered, parseYaml } from "./yaml_entries.ts";

/** More would not fit into what the agent announces to relays. */
const MAX_TARGETS = 1_000;

const NAME_EXPECTED = 'must be 1 to 63 of the characters "a" to "z", "0" to "9" and "-"';
const KIND_EXPECTED = 'must be "http" or "tcp"';
const PATH_EXPECTED = "must be the path of a file";
const BOOLEAN_EXPECTED = "must be true or false";
const HOST_EXPECTED = "must be a host name or an IP address, without a port";
const HEADER_EXPECTED = 'must be the name of a header field, such as "Authorization"';
const PATHS_EXPECTED = "must be a list of entries with value and target";
const TYPE_EXPECTED = 'must be "Prefix" or "Exact"';
const SCHEME_EXPECTED = 'must be one word, such as "Bearer", or "" for none';
const FILE_EXPECTED = "a list of targets under the key targets";

/** Fields that frame a message, belong to one connection, or say whom a request is for. */
export const FRAMING_FIELDS: ReadonlySet<string> = new Set([
  ...["connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate"],
  ...["proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"],
]);

/** Names of fields that a credential may be in, but for {@link FRAMING_FIELDS}. */
export const CREDENTIAL_HEADER: RegExp = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/;
/** What may stand before a credential. */
export const CREDENTIAL_SCHEME: RegExp = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{0,64}$/;

const filePath = z.string(PATH_EXPECTED)
  .refine((path) => path !== "" && !/[\n\r\0]|-----BEGIN/.test(path), PATH_EXPECTED);

const tlsSchema = entryOf({
  ca: filePath.exactOptional(),
  serverName: z.string(HOST_EXPECTED).pipe(parsedBy(parseHost, HOST_EXPECTED)).exactOptional(),
  insecure: z.boolean(BOOLEAN_EXPECTED).default(false),
  cert: filePath.exactOptional(),
  key: filePath.exactOptional(),
}, "must be an object; {} is TLS with public CAs").superRefine((tls, context) => {
  const fault = (key: string, message: string) =>
    context.addIssue({ code: "custom", path: [key], message });
  if (tls.cert !== undefined && tls.key === undefined) fault("cert", "needs key as well");
  if (tls.key !== undefined && tls.cert === undefined) fault("key", "needs cert as well");
  if (tls.insecure && tls.ca !== undefined) {
    fault("insecure", "verifies nothing, so ca has no effect; give one of them");
  }
});

const credentialSchema = entryOf({
  file: filePath,
  header: z.string(HEADER_EXPECTED).regex(CREDENTIAL_HEADER, HEADER_EXPECTED)
    .refine((name) => !FRAMING_FIELDS.has(name.toLowerCase()), {
      error: "must not be a field that belongs to the connection or frames the message",
    }).default("Authorization"),
  scheme: z.string(SCHEME_EXPECTED).regex(CREDENTIAL_SCHEME, SCHEME_EXPECTED)
    .exactOptional(),
}, "must be an object with file").transform(({ scheme, ...rest }) => ({
  ...rest,
  // A token alone is no value of Authorization (RFC 9110 section 11.6.2), and is one of most others.
  scheme: scheme ?? (rest.header.toLowerCase() === "authorization" ? "Bearer" : ""),
}));

const targetName = z.string(NAME_EXPECTED).regex(/^[a-z0-9-]{1,63}$/, NAME_EXPECTED);

const pathSchema = entryOf({
  type: z.enum(["Prefix", "Exact"], TYPE_EXPECTED).default("Prefix"),
  value: z.string('must begin with "/"').superRefine((value, context) => {
    const message = pathFault(value);
    if (message !== undefined) context.addIssue({ code: "custom", message });
  }),
  target: targetName.exactOptional(),
}, "must be an object with value");

const targetSchema = entryOf({
  name: targetName,
  address: z.string(TARGET_EXPECTED).pipe(parsedBy(parseTargetAddress, TARGET_EXPECTED))
    .exactOptional(),
  paths: z.array(pathSchema, PATHS_EXPECTED).min(1, PATHS_EXPECTED)
    .max(MAX_TARGETS, `must be at most ${MAX_TARGETS} paths`).exactOptional(),
  kind: z.enum(["http", "tcp"], KIND_EXPECTED).default("http"),
  tls: tlsSchema.exactOptional(),
  credential: credentialSchema.exactOptional(),
  impersonate: impersonationDemands.exactOptional(),
}, "must be an object with name and address").superRefine((target, context) => {
  const fault = (key: string, message: string) =>
    context.addIssue({ code: "custom", path: [key], message });
  const { paths, kind, address } = target;
  if (!paths && !address) fault("address", `${TARGET_EXPECTED}, or there must be paths`);
  if (paths && kind === "tcp") fault("paths", "are for kind http alone");
  const [unused, why] = paths
    ? [
      ["address", "tls", "credential", "impersonate"],
      "beside paths, whose targets have their own",
    ]
    : kind === "tcp"
    ? [["credential", "impersonate"], "for kind tcp, whose bytes pass as they are"]
    : [[], ""];
  for (const key of unused as readonly (keyof typeof target)[]) {
    if (target[key] !== undefined) fault(key, `has no effect ${why}; remove it`);
  }
}).transform(({ paths, address, ...rest }): TargetEntry =>
  paths ? { name: rest.name, kind: "http", paths } : { ...rest, address: address! }
);

const fileSchema = entryOf({
  targets: z.array(targetSchema, `must be ${FILE_EXPECTED}`)
    .max(MAX_TARGETS, `must be at most ${MAX_TARGETS} targets`),
}, `must be ${FILE_EXPECTED}`);

/**
 * Reads the text of a targets file, YAML or JSON.
 *
 * @param source Names it in messages: `Targets file "x.yaml"`.
 * @throws {ConfigError} naming the entry, by number and name, and the key
 */
export function readTargets(text: string, source: string): readonly TargetEntry[] {
  const value = parseYaml(text, source, FILE_EXPECTED);
  const result = fileSchema.safeParse(value);
  if (!result.success) {
    throw new ConfigError(`${source}${describeIssues(result.error.issues, value)}`);
  }
  const { targets } = result.data;
  refuseTwins(targets, source);
  for (const [index, target] of targets.entries()) {
    const fault = target.paths && faultOfPaths(target, targets);
    if (fault !== undefined) {
      throw new ConfigError(`${targetPlace(source, index, target.name)}: paths: ${fault}`);
    }
  }
  return targets;
}

/** What is wrong with paths that are well formed each. */
function faultOfPaths({ paths }: PathTarget, targets: readonly TargetEntry[]): string | undefined {
  const seen = new Map<string, number>();
  for (const [index, path] of paths.entries()) {
    const key = pathRuleKey(path);
    const before = seen.get(key);
    if (before !== undefined) return `entries ${before + 1} and ${index + 1} are the same path`;
    seen.set(key, index);
    if (path.target === undefined) continue;
    const found = targets.find(({ name }) => name === path.target);
    const what = `entry ${index + 1}: target: ${JSON.stringify(path.target)}`;
    if (!found) return `${what} is not a target in this file`;
    if (found.paths) return `${what} has paths itself; name a target with an address`;
    if (found.kind !== "http") return `${what} is of kind ${found.kind}, which has no paths`;
  }
  if (paths.every(({ target }) => target === undefined)) return "none of them has a target";
  // What relays send to prove whom a request is from, they send by the target that they ask for.
  const proofs = targets.filter(({ name }) => paths.some(({ target }) => target === name))
    .map(({ impersonate }) => impersonate?.proof);
  return new Set(proofs).size > 1
    ? "the targets must all have impersonate with the same proof, or none of them"
    : undefined;
}

/** Names an entry of a targets file in messages. @param index From 0. */
export function targetPlace(source: string, index: number, name: string): string {
  return `${source}, entry ${numbered(index, name)}`;
}

function refuseTwins(targets: readonly TargetEntry[], source: string): void {
  const seen = new Map<string, number>();
  for (const [index, { name }] of targets.entries()) {
    const before = seen.get(name);
    if (before !== undefined) {
      throw new ConfigError(
        `${source}: entries ${before + 1} and ${index + 1} have the same name ${
          JSON.stringify(name)
        }; each needs its own`,
      );
    }
    seen.set(name, index);
  }
}
