/** The options of the relay's commands that use its admin API. */
import { z } from "zod";
import { ConfigError } from "../config_error.ts";
import { readCertificateFile, readStandardInput, readTextFile } from "../files.ts";
import { certificatesOnly } from "../pem.ts";
import { addressOfUrl, isLoopback, parseTargetAddress } from "../options/address.ts";
import { boolean, choice, type Kind, parsedBy, path, TARGET_EXPECTED } from "../options/kinds.ts";
import type { CommandProgram, OptionTable } from "../options/option_table.ts";
import {
  type Environment,
  type Parsed,
  parseOptions,
  type ReadOptions,
} from "../options/options.ts";
import { version } from "../version.ts";
import { checkedToken, type PemText } from "./access_options.ts";

/** Where the API is, and what is shown there. */
export interface AdminTarget {
  /** Origin of the admin listener. */
  readonly url: string;
  /** A secret. */
  readonly token: string;
  readonly ca?: PemText | undefined;
  readonly isJson: boolean;
}

/** What such a command is asked for. */
export interface AdminCommandOptions extends AdminTarget {
  readonly action: string;
  /** The id, name or user that the action is about. */
  readonly subject?: string | undefined;
  /** For `relay clusters add`: the new entry's target. */
  readonly targetAddr?: string | undefined;
  /** For `relay clusters add`: the new entry's owner. */
  readonly owner?: string | undefined;
  /** For `relay clusters add`: the relay's URL for the new agent. */
  readonly server?: string | undefined;
  /** The cluster whose streams `relay streams` lists, or the user whose sessions `relay sessions` lists. */
  readonly of?: string | undefined;
}

const URL_EXPECTED =
  "must be https://HOST[:PORT] of the relay's admin listener; http:// is for loopback only";

const adminUrl: Kind<string> = {
  placeholder: "URL",
  schema: parsedBy((text) => {
    const url = URL.parse(text);
    if (!url || url.href !== `${url.origin}/`) return undefined;
    // Everybody on the way would have the token.
    const isSafe = url.protocol === "https:" ||
      (url.protocol === "http:" && isLoopback(addressOfUrl(url).hostname));
    return isSafe ? url.origin : undefined;
  }, URL_EXPECTED),
};

const connectUrl: Kind<string> = {
  placeholder: "URL",
  schema: parsedBy(
    (text) => /^wss?:$/.test(URL.parse(text)?.protocol ?? "") ? text : undefined,
    "must be the relay's address for agents, such as wss://relay.example.com",
  ),
};

const word: Kind<string> = { placeholder: "TEXT", schema: z.string().min(1, "must not be empty") };

const targetText: Kind<string> = {
  placeholder: "HOST:PORT",
  schema: parsedBy((text) => parseTargetAddress(text) && text, TARGET_EXPECTED),
};

/** The options of every command that uses the API. */
const adminTable = {
  adminUrl: {
    name: "admin-url",
    group: "Relay",
    kind: adminUrl,
    isRequired: true,
    description: "URL of the relay's admin listener (`--admin-addr`), such as https://relay:9443",
  },
  adminTokenFile: {
    name: "admin-token-file",
    group: "Relay",
    kind: path,
    placeholder: "FILE|-",
    isRequired: true,
    description: "File that holds a token of the relay's `--admin-tokens`, or - for standard input",
  },
  ca: {
    name: "ca",
    group: "Relay",
    kind: path,
    description: "CA certificates in PEM for the listener's certificate; without it, public CAs",
  },
  json: {
    name: "json",
    group: "Output",
    kind: boolean,
    default: "false",
    description: "Print JSON, for scripts",
  },
} as const satisfies OptionTable;

function action<const Words extends readonly [string, ...string[]]>(
  words: Words,
  description: string,
) {
  return {
    name: "ACTION",
    group: "Arguments",
    kind: choice("ACTION", words),
    default: words[0],
    isArgument: true,
    description,
  } as const;
}

function subject(name: string, description: string) {
  return { name, group: "Arguments", kind: word, isArgument: true, description } as const;
}

const exitCodes = [
  { code: 0, meaning: "Did or printed what was asked for" },
  { code: 1, meaning: "The relay could not be reached, or refused it" },
  { code: 2, meaning: "Asked nothing: a wrong option or file" },
] as const;

const relayAt = "--admin-url https://relay:9443 --admin-token-file admin.token";

/** `relay status`. */
export const statusProgram = {
  name: "relay status",
  word: "status",
  title: "Show relays, clusters, services and what is open",
  version,
  usage: "--admin-url URL --admin-token-file FILE [options]",
  summary: "Shows, through the admin API, how many agents, services and streams the relays have, " +
    "which clusters have no agent, and which limits were reached.",
  options: adminTable,
  examples: [{ title: "What a relay has", command: `relay status ${relayAt}` }],
  exitCodes,
} as const satisfies CommandProgram<typeof adminTable>;

const clustersTable = {
  action: action(["list", "get", "add", "remove"], "`list`, `get`, `add` or `remove`"),
  id: subject("ID", "The cluster's id"),
  ...adminTable,
  target: {
    name: "target",
    group: "Cluster",
    kind: targetText,
    description: "With `add`: the entry's targetAddr, spelled as in the agent's --target; " +
      "without it, kubernetes.default.svc:443",
  },
  owner: {
    name: "owner",
    group: "Cluster",
    kind: word,
    description: "With `add`: the entry's owner; with `list`: show only this owner's clusters",
  },
  server: {
    name: "server",
    group: "Cluster",
    kind: connectUrl,
    description: "With `add`: the relay's address for agents, for the command that is printed; " +
      "without it, the placeholder wss://RELAY",
  },
} as const satisfies OptionTable;

/** `relay clusters`. */
export const clustersProgram = {
  name: "relay clusters",
  word: "clusters",
  title: "List, add or remove clusters through the admin API",
  version,
  usage: "[list|get|add|remove] [ID] --admin-url URL --admin-token-file FILE [options]",
  summary:
    "Lists clusters with their agents, shows one, adds one with a token that is made for it, " +
    "or removes one, which ends its agents' sessions. The token of a cluster that is added is " +
    "shown once, in the agent's command line and in Helm values; the relay gets its SHA-256.",
  options: clustersTable,
  examples: [
    { title: "All clusters and their agents", command: `relay clusters ${relayAt}` },
    {
      title: "Add one: prints how its agent is started",
      command: `relay clusters add prod ${relayAt} \\\n      --server wss://relay.example.com`,
    },
    { title: "Remove one", command: `relay clusters remove prod ${relayAt}` },
  ],
  exitCodes,
} as const satisfies CommandProgram<typeof clustersTable>;

/** `relay services`. */
export const servicesProgram = {
  name: "relay services",
  word: "services",
  title: "List services, their policies and whether agents serve them",
  version,
  usage: "--admin-url URL --admin-token-file FILE [options]",
  summary: "Lists services with their hostnames, clusters and policies, and how many agents can " +
    "serve each now.",
  options: adminTable,
  examples: [{ title: "All services", command: `relay services ${relayAt}` }],
  exitCodes,
} as const satisfies CommandProgram<typeof adminTable>;

const sessionsTable = {
  action: action(["list", "revoke"], "`list` or `revoke`"),
  subject: subject(
    "ID|USER",
    "With `revoke`: a session's id, or a user, to end all of that user's sessions",
  ),
  ...adminTable,
  user: {
    name: "user",
    group: "Output",
    kind: word,
    description: "With `list`: show only this user's sessions",
  },
} as const satisfies OptionTable;

/** `relay sessions`. */
export const sessionsProgram = {
  name: "relay sessions",
  word: "sessions",
  title: "List or revoke people's sessions",
  version,
  usage: "[list|revoke] [ID|USER] --admin-url URL --admin-token-file FILE [options]",
  summary: "Lists the sessions in which people have signed in, or revokes one, or all of a user. " +
    'What is open with a revoked session ends. The token needs "people": true.',
  options: sessionsTable,
  examples: [
    { title: "Who is signed in", command: `relay sessions ${relayAt}` },
    {
      title: "Sign somebody out everywhere",
      command: `relay sessions revoke ann ${relayAt}`,
    },
  ],
  exitCodes,
} as const satisfies CommandProgram<typeof sessionsTable>;

const streamsTable = {
  action: action(["list", "end"], "`list` or `end`"),
  id: subject("ID", "With `end`: the stream's id"),
  ...adminTable,
  cluster: {
    name: "cluster",
    group: "Output",
    kind: word,
    description: "With `list`: show only this cluster's streams",
  },
} as const satisfies OptionTable;

/** `relay streams`. */
export const streamsProgram = {
  name: "relay streams",
  word: "streams",
  title: "List requests and connections under way, or end one",
  version,
  usage: "[list|end] [ID] --admin-url URL --admin-token-file FILE [options]",
  summary: "Lists requests and connections under way: who, what, and since when; or ends one.",
  options: streamsTable,
  examples: [
    { title: "What is open", command: `relay streams ${relayAt}` },
    { title: "What is open of one cluster", command: `relay streams ${relayAt} --cluster prod` },
  ],
  exitCodes,
} as const satisfies CommandProgram<typeof streamsTable>;

/** Reads the options of `relay status` and `relay services`. @throws {ConfigError} */
export function parsePlainOptions(
  program: typeof statusProgram | typeof servicesProgram,
): (argv: readonly string[], env: Environment) => Parsed<AdminCommandOptions> {
  return (argv, env) =>
    read(parseOptions(program, argv, env), ({ target }) => ({ ...target, action: "list" }));
}

/** Reads the options of `relay clusters`. @throws {ConfigError} */
export function parseClustersOptions(
  argv: readonly string[],
  env: Environment,
): Parsed<AdminCommandOptions> {
  return read(parseOptions(clustersProgram, argv, env), ({ target, values }) => {
    const { action, id, target: targetAddr, owner, server } = values;
    demandSubject(action, action === "list" ? undefined : "ID", id);
    return { ...target, action, subject: id, targetAddr, owner, server };
  });
}

/** Reads the options of `relay sessions`. @throws {ConfigError} */
export function parseSessionsOptions(
  argv: readonly string[],
  env: Environment,
): Parsed<AdminCommandOptions> {
  return read(parseOptions(sessionsProgram, argv, env), ({ target, values }) => {
    const { action, subject, user } = values;
    demandSubject(action, action === "revoke" ? "ID|USER" : undefined, subject);
    return { ...target, action, subject, of: user };
  });
}

/** Reads the options of `relay streams`. @throws {ConfigError} */
export function parseStreamsOptions(
  argv: readonly string[],
  env: Environment,
): Parsed<AdminCommandOptions> {
  return read(parseOptions(streamsProgram, argv, env), ({ target, values }) => {
    const { action, id, cluster } = values;
    demandSubject(action, action === "end" ? "ID" : undefined, id);
    return { ...target, action, subject: id, of: cluster };
  });
}

type AdminRead<Values> = { readonly target: AdminTarget; readonly values: Values };

function read<Table extends typeof adminTable>(
  parsed: Parsed<ReadOptions<Table>>,
  make: (read: AdminRead<ReadOptions<Table>["values"]>) => AdminCommandOptions,
): Parsed<AdminCommandOptions> {
  if (parsed.kind !== "run") return parsed;
  const { values, origins } = parsed.options as unknown as ReadOptions<typeof adminTable>;
  const origin = origins.adminTokenFile;
  const file = values.adminTokenFile;
  const text = file === "-" ? readStandardInput(origin) : readTextFile({ origin, path: file });
  const { ca } = values;
  const target: AdminTarget = {
    url: values.adminUrl,
    token: checkedToken(text, origin),
    isJson: values.json,
    ...ca !== undefined && {
      ca: {
        option: "ca",
        path: ca,
        pem: certificatesOnly(readCertificateFile({ origin: origins.ca, path: ca })),
      },
    },
  };
  return { kind: "run", options: make({ target, values: parsed.options.values }) };
}

function demandSubject(action: string, name: string | undefined, given: string | undefined): void {
  if (name !== undefined && given === undefined) {
    throw new ConfigError(`Argument ${name} is required: ${action} ${name}`);
  }
  if (name === undefined && given !== undefined) {
    throw new ConfigError(`Action ${action} takes no argument after it`);
  }
}
