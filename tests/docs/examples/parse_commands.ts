/**
 * Reads the options of command lines, as the programs do at their start, and prints what is wrong
 * with each. Runs as a process of its own, as it moves to the folder in which each was started.
 */
import { relayCommands } from "../../../lib/commands/relay_commands.ts";
import {
  parseAccessHttpOptions,
  parseAccessOptions,
  parseAccessServicesOptions,
  parseAccessTcpOptions,
} from "../../../lib/config/access_options.ts";
import {
  parseAccessKubectlTokenOptions,
  parseAccessLoginOptions,
  parseAccessLogoutOptions,
} from "../../../lib/config/access_login_options.ts";
import { parseAgentOptions } from "../../../lib/config/agent_options.ts";
import { parseDrainOptions } from "../../../lib/config/commands/drain_options.ts";
import { parseOperatorOptions } from "../../../lib/config/operator_options.ts";
import { parseRelayOptions } from "../../../lib/config/relay_options.ts";
import type { CulvertCommand } from "./culvert_command.ts";

type Parse = (argv: readonly string[], env: Record<string, string>) => unknown;

const accessCommands: Readonly<Record<string, Parse | undefined>> = {
  tcp: parseAccessTcpOptions,
  http: parseAccessHttpOptions,
  services: parseAccessServicesOptions,
  login: parseAccessLoginOptions,
  logout: parseAccessLogoutOptions,
  "kubectl-token": parseAccessKubectlTokenOptions,
};

function parseAccess(argv: readonly string[], env: Record<string, string>): void {
  const parse = accessCommands[argv[0] ?? ""];
  if (parse) parse(argv.slice(1), { HOME: "/nowhere", ...env });
  else parseAccessOptions(argv, env);
}

function parseOperator(argv: readonly string[], env: Record<string, string>): void {
  if (argv[0] === "drain") parseDrainOptions(argv.slice(1), env);
  else parseOperatorOptions(argv, env);
}

async function fault({ program, cwd, argv, env }: CulvertCommand): Promise<string | undefined> {
  Deno.chdir(cwd);
  try {
    const command = program === "relay" && relayCommands.find(({ word }) => word === argv[0]);
    if (command) {
      await command.run(argv.slice(1), { HOME: cwd, ...env }, {
        checkTls() {},
        changeFile: () => Promise.resolve(),
        fetchWith: () => () => Promise.resolve(new Response("{}", { status: 503 })),
      });
    } else if (program === "relay") parseRelayOptions(argv, env);
    else if (program === "access") parseAccess(argv, env);
    else if (program === "operator") parseOperator(argv, env);
    else parseAgentOptions(argv, env);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const commands: CulvertCommand[] = JSON.parse(Deno.args[0]!);
const faults: string[] = [];
for (const command of commands) {
  const message = await fault(command);
  const { program, argv } = command;
  if (message !== undefined) faults.push(`${[program, ...argv].join(" ")}\n  ${message}`);
}
console.log(JSON.stringify(faults));
