/** `access http`. */
import { credentialHeaders } from "../../../access/credential.ts";
import { LocalRequests } from "../../../access/local_requests.ts";
import type { AccessEvent } from "../../../access/report.ts";
import { checkWhoami, whoamiPath } from "../../../access/whoami.ts";
import { type Command, commandOf, type CommandOutput } from "../../../commands/command.ts";
import { ConfigError } from "../../../config/config_error.ts";
import {
  type AccessHttpOptions,
  type AccessService,
  parseAccessHttpOptions,
} from "../../../config/access_options.ts";
import { formatAddress } from "../../../config/options/address.ts";
import { defaultHeadLimits } from "../../../http1/head.ts";
import type { ByteSocket } from "../../../net/byte_socket.ts";
import { defaultConnectionTimeouts } from "../../../net/http_connection.ts";
import { UpstreamPool } from "../../../net/upstream_pool.ts";
import { withTimeout } from "../../dial.ts";
import { HttpServer } from "../http_server.ts";
import { listenFailure, untilSignalled } from "../program.ts";
import { printer, refused } from "./output.ts";
import { personContext } from "./person_context.ts";
import { withPerson } from "./person_service.ts";
import { getFromService, openServiceConnection } from "./service_connection.ts";

/** The command, for `access.ts`. */
export const httpCommand: Command = commandOf({
  word: "http",
  parse: parseAccessHttpOptions,
  make: serve,
});

/** Connections of this machine's programs at once. */
const maxConnections = 1_024;
/** Idle connections to the relay, and how long they are kept: shorter than the relay keeps its own. */
const pool = { maxIdle: 16, idleTimeoutMs: 30_000 };
/** How long connecting to the relay may take, TLS included, in milliseconds. */
const dialTimeoutMs = 15_000;

async function serve(
  { port, person, isJson, warnings }: AccessHttpOptions,
): Promise<CommandOutput> {
  const stop = new AbortController();
  const signalled = untilSignalled();
  const report = printer(isJson, warnings);
  const { listen, origin } = port;
  let { service } = port;
  try {
    service = await withPerson(service, person && personContext(person, stop.signal));
    const answer = await getFromService(service, whoamiPath, stop.signal);
    checkWhoami(answer, service.name, "http");
  } catch (error) {
    return refused(error);
  }
  const server = localServer(service, report);
  let address: string;
  try {
    address = formatAddress(await server.listen(listen.hostname, listen.port));
  } catch (error) {
    throw new ConfigError(listenFailure(origin, listen, error));
  }
  report({ event: "listening", service: service.name, address });
  await signalled;
  server.close();
  return { text: "", warnings: [] };
}

function localServer(service: AccessService, report: (event: AccessEvent) => void): HttpServer {
  const { name, origin } = service;
  const failed = (reason: string) => report({ event: "failed", service: name, reason });
  const requests = new LocalRequests({
    origin,
    pool: new UpstreamPool({ ...pool, dial: (signal) => dial(service, signal) }),
    head: defaultHeadLimits,
    credential: async () => credentialHeaders(await service.readToken()),
    failed,
  });
  return new HttpServer({
    fetch: async (_request, { exchange, alreadyAnswered }) => {
      await requests.serve(exchange);
      return alreadyAnswered;
    },
    limits: defaultHeadLimits,
    timeouts: defaultConnectionTimeouts,
    connections: { max: maxConnections, maxPerAddress: 0 },
    turnedAway: () => failed(`${name}: refused a connection: ${maxConnections} are open`),
    fault: (error) => failed(`${name}: a bug: ${error instanceof Error ? error.message : error}`),
  });
}

async function dial(service: AccessService, signal: AbortSignal): Promise<ByteSocket> {
  const late = new Error(`gave up after ${dialTimeoutMs / 1_000} s`);
  return await withTimeout({ timeoutMs: dialTimeoutMs, signal }, late, async (signal) => {
    return await openServiceConnection(service, signal) as unknown as ByteSocket;
  });
}
