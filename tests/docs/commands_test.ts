import assert from "node:assert/strict";
import {
  parseClustersOptions,
  parsePlainOptions,
  parseSessionsOptions,
  parseStreamsOptions,
  servicesProgram,
  statusProgram,
} from "../../lib/config/commands/admin_options.ts";
import { parseArgocdSecretOptions } from "../../lib/config/commands/argocd_options.ts";
import { parseKubeconfigOptions } from "../../lib/config/commands/kubeconfig_options.ts";
import type { Environment, Parsed } from "../../lib/config/options/options.ts";
import { parseRelayOptions } from "../../lib/config/relay_options.ts";
import { parseTokenOptions } from "../../lib/config/commands/token_options.ts";
import { code, table, tableAfter } from "./markdown.ts";

const page = "docs/commands.md";

type Parse = (argv: readonly string[], env: Environment) => Parsed<unknown>;

const commands: readonly (readonly [string, Parse])[] = [
  ["kubeconfig", parseKubeconfigOptions],
  ["argocd-secret", parseArgocdSecretOptions],
  ["token", parseTokenOptions],
  ["status", parsePlainOptions(statusProgram)],
  ["clusters", parseClustersOptions],
  ["services", parsePlainOptions(servicesProgram)],
  ["sessions", parseSessionsOptions],
  ["streams", parseStreamsOptions],
];

function helpOf(parse: Parse): string {
  const parsed = parse(["--help"], {});
  assert.ok(parsed.kind === "help");
  return parsed.text;
}

Deno.test("commands.md: the commands are those of relay --help", () => {
  const written = table(page, ["command", "prints"]).map((row) => code(row["command"]!));
  const [, section = ""] = helpOf(parseRelayOptions).split("\nCommands, ");
  const real = [...section.split("\n\n")[0]!.matchAll(/^ {2}(relay \S+)/gm)].map((m) => m[1]!);
  assert.deepEqual(written, real);
  assert.deepEqual(written, commands.map(([word]) => `relay ${word}`));
});

for (const [word, parse] of commands) {
  Deno.test(`commands.md: the table of ${word} has the options of its --help`, () => {
    const help = helpOf(parse);
    const signatures = [...help.matchAll(/^ {2}(--[a-z-]+(?: [A-Z|:-]+)?|[A-Z|]+)$/gm)]
      .map((match) => match[1]!);
    const real = signatures.filter((signature) => signature !== "--version");
    const written = tableAfter(page, `## ${word}`).map((row) => code(row["option"]!));
    assert.ok(real.length > 3);
    assert.deepEqual(written, real);
  });
}
