/** The options of `relay token`. */
import { checkedToken, clusterId } from "./access_options.ts";
import { parseTargetAddress } from "../options/address.ts";
import { MIN_TOKEN_CHARACTERS } from "../entries/token_schemas.ts";
import { ConfigError } from "../config_error.ts";
import { readStandardInput } from "../files.ts";
import { boolean, type Kind, parsedBy, TARGET_EXPECTED } from "../options/kinds.ts";
import type { CommandProgram, OptionTable } from "../options/option_table.ts";
import { type Environment, type Parsed, parseOptions } from "../options/options.ts";
import { commandExitCodes } from "../tables/shared.ts";
import { version } from "../version.ts";

/** What is asked for. */
export interface TokenOptions {
  /** The token to be hashed; undefined makes a new one. A secret. */
  readonly token?: string | undefined;
  /** The id and target of the clusters file's entry to print with the token. */
  readonly entry?: { readonly id: string; readonly targetAddr: string } | undefined;
  readonly isJson: boolean;
  /** One line each, about what works but should not stay. */
  readonly warnings: readonly string[];
}

/** The agent's own default. */
const DEFAULT_TARGET = "kubernetes.default.svc:443";

const targetText: Kind<string> = {
  placeholder: "HOST:PORT",
  schema: parsedBy((text) => parseTargetAddress(text) && text, TARGET_EXPECTED),
};

const table = {
  cluster: {
    name: "cluster",
    group: "Output",
    kind: clusterId,
    description: "Print an entry for the relay's clusters file, too, with this id",
  },
  target: {
    name: "target",
    group: "Output",
    kind: targetText,
    description: "The entry's targetAddr, in the spelling of the agent's --target; without it, " +
      `${DEFAULT_TARGET}; needs --cluster`,
  },
  json: {
    name: "json",
    group: "Output",
    kind: boolean,
    default: "false",
    description: "Print one JSON object, for scripts",
  },
  stdin: {
    name: "stdin",
    group: "Input",
    kind: boolean,
    default: "false",
    description: "Hash the token on standard input instead of making one; it is not printed again",
  },
} as const satisfies OptionTable;

/** The command as its help text presents it. */
export const tokenProgram = {
  name: "relay token",
  word: "token",
  title: "Create a token and its SHA-256, or hash a token",
  version,
  usage: "[options]",
  summary:
    "Creates a token of 256 random bits, and its SHA-256. The token goes to the agent, in TOKEN or " +
    "in the Secret of the chart culvert-agent, and nowhere else. The SHA-256 goes to the relay, " +
    "as tokenSha256 in its clusters file or in the values of the chart culvert-relay: whoever " +
    "reads it can't connect with it. Tokens of callers (--caller-tokens) are made the same way.",
  options: table,
  examples: [
    { title: "A token and its SHA-256", command: "relay token" },
    {
      title: "With an entry for the clusters file",
      command: "relay token --cluster dev --target 127.0.0.1:6443",
    },
    {
      title: "In a script, with the token in a file that its owner alone can read",
      command: "(umask 077; relay token --json > dev.json); jq -r .tokenSha256 dev.json",
    },
    {
      title: "The SHA-256 of an existing token",
      command: "relay token --stdin < tunnel.token",
    },
  ],
  exitCodes: commandExitCodes,
} as const satisfies CommandProgram<typeof table>;

/**
 * Reads the options, and a token from standard input if that is asked for.
 *
 * @param argv the arguments after the command's word
 * @throws {ConfigError} for options that don't go together, and for what is no token
 */
export function parseTokenOptions(argv: readonly string[], env: Environment): Parsed<TokenOptions> {
  const parsed = parseOptions(tokenProgram, argv, env);
  if (parsed.kind !== "run") return parsed;
  const { values, origins } = parsed.options;
  if (values.target !== undefined && values.cluster === undefined) {
    throw new ConfigError(`${origins.target} needs --cluster as well`);
  }
  const token = values.stdin
    ? checkedToken(readStandardInput(origins.stdin), origins.stdin)
    : undefined;
  const isShort = token !== undefined && token.length < MIN_TOKEN_CHARACTERS;
  return {
    kind: "run",
    options: {
      ...(token !== undefined && { token }),
      ...(values.cluster !== undefined && {
        entry: { id: values.cluster, targetAddr: values.target ?? DEFAULT_TARGET },
      }),
      isJson: values.json,
      warnings: isShort
        ? [`The token is shorter than ${MIN_TOKEN_CHARACTERS} characters and can be guessed`]
        : [],
    },
  };
}
