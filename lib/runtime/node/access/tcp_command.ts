/** `access tcp`. */
import process from "node:process";
import { type AccessTcpOptions, parseAccessTcpOptions } from "../../../config/access_options.ts";
import { type Command, commandOf, type CommandOutput } from "../../../commands/command.ts";
import type { AccessPort, AccessService } from "../../../config/access_options.ts";
import { untilSignalled } from "../program.ts";
import { printer, refused } from "./output.ts";
import { personContext } from "./person_context.ts";
import { withPerson } from "./person_service.ts";
import { StdioSocket } from "./stdio_socket.ts";
import { TcpPort } from "./tcp_port.ts";
import { carry, checkTcpService } from "./tcp_service.ts";

/** The command, for `access.ts`. */
export const tcpCommand: Command = commandOf({
  word: "tcp",
  parse: parseAccessTcpOptions,
  make: (options) => options.stdio ? carryStdio(options.stdio, options) : openPorts(options),
});

async function openPorts(
  { ports: named, person, isJson, warnings }: AccessTcpOptions,
): Promise<CommandOutput> {
  const stop = new AbortController();
  const signalled = untilSignalled();
  const report = printer(isJson, warnings);
  const context = person && personContext(person, stop.signal);
  const ports: AccessPort[] = [];
  try {
    // One after the other: a person signs in to one at a time.
    for (const port of named) {
      ports.push({ ...port, service: await withPerson(port.service, context) });
    }
    await Promise.all(ports.map(({ service }) => checkTcpService(service, stop.signal)));
  } catch (error) {
    return refused(error);
  }
  const open = ports.map((port) => new TcpPort(port, report, stop.signal));
  for (const port of open) await port.listen();
  await signalled;
  stop.abort(new Error("access was stopped"));
  await Promise.all(open.map((port) => port.close()));
  return { text: "", warnings: [] };
}

/** Standard output carries the connection: all that is said goes to standard error. */
async function carryStdio(
  named: AccessService,
  { person, isJson, warnings }: AccessTcpOptions,
): Promise<CommandOutput> {
  for (const warning of warnings) process.stderr.write(`access: ${warning}\n`);
  const stop = new AbortController();
  void untilSignalled().then(() => stop.abort(new Error("access was stopped")));
  const local = new StdioSocket();
  let service: AccessService;
  try {
    service = await withPerson(named, person && personContext(person, stop.signal));
  } catch (error) {
    return refused(error);
  }
  const event = await carry(service, local, stop.signal);
  if (!event || !("reason" in event)) return { text: "", warnings: [] };
  const line = isJson ? JSON.stringify(event) : `access: ${event.reason}`;
  process.stderr.write(`${line}\n`);
  return { text: "", warnings: [], exitCode: 1 };
}
