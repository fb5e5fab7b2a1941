/** The relay's options for working with other relays. */
import { z } from "zod";
import { bareToken } from "../entries/token_schemas.ts";
import { integer, type Kind, parsedBy, path } from "../options/kinds.ts";
import type { Option, OptionTable } from "../options/option_table.ts";
import { parseStoreAddress } from "../store_address.ts";

const minTokenCharacters = 16;
/** It goes with each forwarded request. */
const maxTokenCharacters = 1024;

const directoryUrl: Kind<string> = {
  placeholder: "URL",
  schema: z.string().transform((text, context) => {
    const address = parseStoreAddress(text);
    if (typeof address !== "string") return text;
    context.addIssue({ code: "custom", message: address });
    return z.NEVER;
  }),
};

/** An IPv6 address without brackets, as Kubernetes tells a pod's, and a port. */
const bareIpv6 = /^(https?:\/\/)([\da-f]*:[\da-f:]*)(:\d+)$/i;

/** A pod's address in front of its namespace's domain, such as `10.0.0.5.culvert.pod.cluster.local`. */
const podDomain =
  /^(https?:\/\/)(\d+(?:\.\d+){3}|[\da-f:]*:[\da-f:]*)(\.[a-z\d-]+\.pod(?:\.[a-z\d.-]+)?(?::\d+)?)$/i;

/**
 * The DNS name of a pod, in which dashes replace the dots and colons of its address. Kubernetes tells
 * a container the address only, and no certificate can contain addresses that change.
 */
function withPodName(text: string): string {
  return text.replace(
    podDomain,
    (_, scheme: string, address: string, domain: string) =>
      scheme + address.replaceAll(/[.:]/g, "-") + domain,
  );
}

const advertisedUrl: Kind<string> = {
  placeholder: "URL",
  schema: parsedBy(
    (text) => {
      const url = URL.parse(withPodName(text).replace(bareIpv6, "$1[$2]$3"));
      if (!url || !["http:", "https:"].includes(url.protocol)) return undefined;
      return url.href === `${url.origin}/` ? url.origin : undefined;
    },
    "must be http://HOST:PORT or https://HOST:PORT and nothing after it",
  ),
};

/** Printable ASCII without spaces. */
export const relayTokenPattern = new RegExp(
  `^[\\x21-\\x7e]{${minTokenCharacters},${maxTokenCharacters}}$`,
);
/** What a relays' token must be, for messages. */
export const relayTokenExpected =
  `${minTokenCharacters} to ${maxTokenCharacters} characters of printable ` +
  "ASCII without spaces";

const relayToken: Kind<string> = {
  placeholder: "TOKEN",
  schema: bareToken.pipe(z.string().regex(relayTokenPattern, `must be ${relayTokenExpected}`)),
};

/** How many processes one relay is. */
export const workersOption = {
  name: "workers",
  env: "WORKERS",
  group: "Several relays",
  kind: integer({ min: 1, max: 64 }),
  default: "1",
  description:
    "Processes that share the relay's listeners and find each other's sessions, for machines with " +
    "several cores; Linux only. With `--directory`, each accepts other relays' requests on a port " +
    "of its own above `--internal-addr`'s",
  see: "scale.md#several-cores",
  chart: { name: "workers" },
} as const satisfies Option<number>;

/** The options for working with other relays, together in the help text. */
export const directoryTable = {
  directory: {
    name: "directory",
    env: "DIRECTORY",
    group: "Several relays",
    kind: directoryUrl,
    isSecret: true,
    description: "Redis that several relays share, so that each finds the sessions of all: " +
      "`redis://[USER:PASSWORD@]HOST:PORT[/NUMBER]`, `redis+sentinel://HOST:PORT,…/PRIMARY` or " +
      "`redis+cluster://HOST:PORT,…`, with `rediss` for TLS; needs `--advertise`, and " +
      "`--relay-token` or `--relay-token-file`",
    see: "high-availability.md#several-relays",
  },
  advertise: {
    name: "advertise",
    env: "ADVERTISE",
    group: "Several relays",
    kind: advertisedUrl,
    description: "URL of this relay's internal listener as the other relays reach it; port 0 " +
      "stands for the port of `--internal-addr`. A pod's address in front of `.NAMESPACE.pod.DOMAIN` " +
      "becomes the pod's DNS name: `10.0.0.5.culvert.pod.cluster.local` is " +
      "`10-0-0-5.culvert.pod.cluster.local`",
  },
  relayToken: {
    name: "relay-token",
    env: "RELAY_TOKEN",
    group: "Several relays",
    kind: relayToken,
    isSecret: true,
    description:
      "Token with which relays authenticate to each other, the same for all of them, 16 to 1024 " +
      "printable characters; better in the environment",
  },
  relayTokenFile: {
    name: "relay-token-file",
    env: "RELAY_TOKEN_FILE",
    group: "Several relays",
    kind: path,
    description:
      "Instead of `--relay-token`, a file with up to 8 such tokens, one a line: the relay " +
      "sends the first to the others and accepts all of them; read again when it changes",
  },
  relayCa: {
    name: "relay-ca",
    env: "RELAY_CA",
    group: "Several relays",
    kind: path,
    description: "CA certificates in PEM, for the other relays' certificates; without it, those " +
      "of `--caller-ca`, or else of `--tls-client-ca`, or else public CAs",
  },
} as const satisfies OptionTable;
