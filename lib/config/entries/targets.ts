/** The targets file: what an agent may dial, by name. Reads text and knows no files. */
import { z } from "zod";
import type { TargetEntry } from "../../domain/target.ts";
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
const SCHEME_EXPECTED = 'must be one word, such as "Bearer", or "" for none';
const FILE_EXPECTED = "a list of targets under the key targets";

/** Fields that frame a message, belong to one connection, or say whom a request is for. */
const FRAMING_FIELDS: ReadonlySet<string> = new Set([
  ...["connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate"],
  ...["proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"],
]);

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
    fault("insecure", "verifies nothing, so that ca has no use; give one of them");
  }
});

const credentialSchema = entryOf({
  file: filePath,
  header: z.string(HEADER_EXPECTED).regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/, HEADER_EXPECTED)
    .refine((name) => !FRAMING_FIELDS.has(name.toLowerCase()), {
      error: "must not be a field that belongs to the connection or frames the message",
    }).default("Authorization"),
  scheme: z.string(SCHEME_EXPECTED).regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{0,64}$/, SCHEME_EXPECTED)
    .exactOptional(),
}, "must be an object with file").transform(({ scheme, ...rest }) => ({
  ...rest,
  // A token alone is no value of Authorization (RFC 9110 section 11.6.2), and is one of most others.
  scheme: scheme ?? (rest.header.toLowerCase() === "authorization" ? "Bearer" : ""),
}));

const targetSchema = entryOf({
  name: z.string(NAME_EXPECTED).regex(/^[a-z0-9-]{1,63}$/, NAME_EXPECTED),
  address: z.string(TARGET_EXPECTED).pipe(parsedBy(parseTargetAddress, TARGET_EXPECTED)),
  kind: z.enum(["http", "tcp"], KIND_EXPECTED).default("http"),
  tls: tlsSchema.exactOptional(),
  credential: credentialSchema.exactOptional(),
  impersonate: impersonationDemands.exactOptional(),
}, "must be an object with name and address").superRefine((target, context) => {
  if (target.kind !== "tcp") return;
  for (const key of ["credential", "impersonate"] as const) {
    if (target[key] === undefined) continue;
    const message = "has no use for kind tcp, whose bytes pass as they are; remove it";
    context.addIssue({ code: "custom", path: [key], message });
  }
});

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
  return targets;
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
