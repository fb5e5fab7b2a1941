/** Commands: words behind a program's name that have it print something and end. */
import type { AccessTls, PemText } from "../config/commands/access_options.ts";
import type { Environment, Parsed } from "../config/options/options.ts";

/** What a command leaves. */
export interface CommandOutput {
  /** The text for standard output: what was asked for. It may contain secrets. */
  readonly text: string;
  /** The warnings for standard error, one line each. */
  readonly warnings: readonly string[];
  /** What the program ends with; 0 unless given. */
  readonly exitCode?: number | undefined;
}

/** What a command needs of its runtime. */
export interface CommandTools {
  /** @throws {ConfigError} for certificates and keys that no handshake could use. */
  checkTls(tls: AccessTls): void | Promise<void>;
  /**
   * Changes a file that other programs change, too; `""` stands for one that is not there.
   *
   * @throws {ConfigError} that names the file; it is as it was then
   */
  changeFile(path: string, change: (before: string) => string): Promise<void>;
  /** `fetch` that trusts a CA, or public CAs without one. */
  fetchWith(ca: PemText | undefined): typeof fetch;
}

/** A command of a program. */
export interface Command {
  /** The word that stands behind the program's. */
  readonly word: string;
  /** Reads the arguments behind that word. @throws {ConfigError} for what can't be used. */
  run(
    argv: readonly string[],
    env: Environment,
    tools: CommandTools,
  ): Promise<CommandOutput>;
}

/** Makes a command of its options' parser and what it does with them; `--help` is a text like any. */
export function commandOf<Options>(
  { word, parse, make }: {
    readonly word: string;
    readonly parse: (argv: readonly string[], env: Environment) => Parsed<Options>;
    readonly make: (options: Options, tools: CommandTools) => Promise<CommandOutput>;
  },
): Command {
  return {
    word,
    async run(argv, env, tools) {
      const parsed = parse(argv, env);
      if (parsed.kind === "run") return await make(parsed.options, tools);
      return { text: `${parsed.text}\n`, warnings: [] };
    },
  };
}
