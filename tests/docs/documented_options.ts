/** The programs' options, as their help texts and the tables of configuration.md have them. */
import assert from "node:assert/strict";
import { parseAgentOptions } from "../../lib/config/agent_options.ts";
import { parseOperatorOptions } from "../../lib/config/operator_options.ts";
import { parseRelayOptions } from "../../lib/config/relay_options.ts";
import { code, tableAfter } from "./markdown.ts";

/** An option as a help text and as a table of the page have it. */
export interface DocumentedOption {
  /** With its value's placeholder: `--addr ADDRESS`. */
  signature: string;
  env: string;
  /** Its default, `required`, `none`, or `off` for a switch. */
  default: string;
}

const parsers = {
  relay: parseRelayOptions,
  agent: parseAgentOptions,
  operator: parseOperatorOptions,
};

export function helpOf(program: keyof typeof parsers): string {
  const parsed = parsers[program](["--help"], {});
  assert.ok(parsed.kind === "help");
  return parsed.text;
}

export function optionsInHelp(help: string): DocumentedOption[] {
  return help.split(/\n(?= {2}-)|\n\n/).flatMap((entry) => {
    const line = entry.replaceAll(/\s+/g, " ").trim();
    const match = /^(--[\w-]+(?: [A-Z|:,…-]+)?) .* \(env (\w+)((?:; [^;)]+)*)\)$/.exec(line);
    if (!match) return [];
    const [, signature = "", env = "", facts = ""] = match;
    return [{ signature, env, default: defaultIn(facts, signature) }];
  });
}

function defaultIn(facts: string, signature: string): string {
  if (facts.includes("; required")) return "required";
  return /; default ([^;]+)/.exec(facts)?.[1] ?? (signature.includes(" ") ? "none" : "off");
}

export function optionsInTable(heading: string): DocumentedOption[] {
  return tableAfter("docs/configuration.md", heading).map((row) => ({
    signature: code(row["option"]!),
    env: code(row["environment"]!),
    default: row["default"]!.replaceAll("`", ""),
  }));
}

/** The options in a text, without dashes. */
export function names(text: string): Set<string> {
  return new Set([...text.matchAll(/--([a-z][\w-]*)/g)].map((match) => match[1]!));
}
