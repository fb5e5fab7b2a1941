/** Connections from `access` to the relay in front of a service: verified, and to nobody else. */
import { request as httpRequest } from "node:http";
import type { Socket } from "node:net";
import type { AccessService } from "../../../config/access_options.ts";
import { formatAddress } from "../../../config/options/address.ts";
import { credentialHeaders } from "../../../access/credential.ts";
import { type Answer, ServiceError } from "../../../access/service_error.ts";
import { withTimeout } from "../../dial.ts";
import { advised, type TlsAdvice } from "../../tls_advice.ts";
import { openConnectionVia } from "../dial_proxy.ts";
import { guardSocket } from "../guarded_socket.ts";
import { secure } from "../verified_tls.ts";
import { readAnswer } from "./read_answer.ts";

const tlsAdvice: TlsAdvice = {
  notTls: "the relay has no TLS at that port; http:// is for this machine alone",
  unknownCa: "--ca must hold the CA of the relay's certificate",
  otherName: "the relay's certificate must hold the service's hostname",
  dates: "the relay's certificate has to be renewed, or the clock of this machine set",
};

/**
 * Opens a connection, with TLS where the service's URL is `https://`.
 *
 * @throws {ServiceError} with one sentence
 */
export async function openServiceConnection(
  service: AccessService,
  signal: AbortSignal,
): Promise<Socket> {
  const { address, proxy, origin, tls, name } = service;
  const url = new URL(origin);
  try {
    const below = await openConnectionVia(proxy, address, signal);
    below.setNoDelay(true);
    if (url.protocol === "http:") return guardSocket(below);
    const hostname = url.hostname.replace(/^\[(.*)\]$/, "$1");
    const client = { name: hostname, ...tls, alpn: ["http/1.1"], advice: tlsAdvice };
    return guardSocket(await secure(below, client, signal));
  } catch (error) {
    const { message } = error as Error;
    throw new ServiceError(
      `${name}: no connection to the relay at ${formatAddress(address)}: ` +
        advised(message, tlsAdvice),
      { cause: error },
    );
  }
}

/** How long a whole answer may take, connection included, in milliseconds. */
const answerTimeoutMs = 15_000;

/** Sends a GET with the token, and follows no redirect. @throws {ServiceError} */
export async function getFromService(
  service: AccessService,
  path: string,
  signal: AbortSignal,
): Promise<Answer> {
  const headers = credentialHeaders(await service.readToken());
  return await exchange(service, { method: "GET", path, headers }, signal);
}

/** Sends a form without a token, and follows no redirect. @throws {ServiceError} */
export async function postForm(
  service: AccessService,
  path: string,
  form: URLSearchParams,
  signal: AbortSignal,
): Promise<Answer> {
  const headers = { "Content-Type": "application/x-www-form-urlencoded" };
  return await exchange(service, { method: "POST", path, headers, body: String(form) }, signal);
}

/** A request to the relay. */
interface Sent {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

async function exchange(
  service: AccessService,
  sent: Sent,
  signal: AbortSignal,
): Promise<Answer> {
  const late = new Error(`gave up after ${answerTimeoutMs / 1_000} s`);
  return await withTimeout({ timeoutMs: answerTimeoutMs, signal }, late, async (signal) => {
    const socket = await openServiceConnection(service, signal);
    try {
      return await ask(service, sent, socket, signal);
    } catch (error) {
      const { message } = error as Error;
      throw new ServiceError(`${service.name}: no answer from the relay: ${message}`, {
        cause: error,
      });
    } finally {
      socket.destroy();
    }
  });
}

function ask(
  { origin }: AccessService,
  { method, path, headers, body }: Sent,
  socket: Socket,
  signal: AbortSignal,
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const request = httpRequest({
    createConnection: () => socket,
    method,
    path,
    setHost: false,
    headers: {
      Host: new URL(origin).host,
      Accept: "application/json",
      Connection: "close",
      ...body !== undefined && { "Content-Length": String(body.length) },
      ...headers,
    },
  });
  const abort = (): void => {
    request.destroy();
    reject(signal.reason);
  };
  signal.addEventListener("abort", abort);
  request.on("error", reject);
  request.on("response", (response) => resolve(readAnswer(response, signal)));
  request.end(body);
  if (signal.aborted) abort();
  return promise.finally(() => signal.removeEventListener("abort", abort));
}
