/**
 * A connection through an HTTP proxy, by CONNECT (RFC 9110 section 9.3.6).
 *
 * Our own: an `Agent` for `node:http` that does this would bring the same few lines and a place in
 * that module's pooling, and say "Proxy response (407)" where a user needs to know what to do.
 */
import type { Socket } from "node:net";
import { formatAddress } from "../../config/options/address.ts";
import { headFaults } from "../../http1/faults.ts";
import { HeadError, type ResponseHead } from "../../http1/head.ts";
import { HeadReader } from "../../http1/head_reader.ts";
import { advised, type TlsAdvice } from "../tls_advice.ts";
import { openConnection } from "./open_connection.ts";
import { secure, UntrustedPeerError } from "./verified_tls.ts";

/** The proxy, and how it is verified when it is reached by TLS. */
export interface ProxyAddress {
  readonly isTls: boolean;
  readonly hostname: string;
  readonly port: number;
  /** Value of `Proxy-Authorization`; a secret. */
  readonly authorization?: string | undefined;
  /** PEM of the CA of its certificate; absent for public CAs. */
  readonly caPem?: string | undefined;
}

/** An answer to CONNECT has a status and a few fields; one that is longer is none. */
const headLimits = { maxBytes: 16 * 1024, maxFields: 256 };

const tlsAdvice: TlsAdvice = {
  notTls: "a proxy without TLS is http://",
  unknownCa: "--proxy-ca-cert must hold the CA of its certificate",
  otherName: "--proxy must be a name that its certificate holds",
  dates: "renew it, or set the clock",
};

/** Connects to a host, through a proxy where there is one. @throws as {@link dialThroughProxy} */
export async function openConnectionVia(
  proxy: ProxyAddress | undefined,
  address: { readonly hostname: string; readonly port: number },
  signal: AbortSignal,
): Promise<Socket> {
  if (proxy) return await dialThroughProxy(proxy, formatAddress(address), signal);
  return await openConnection(address.hostname, address.port, signal);
}

/**
 * Connects to a host through a proxy.
 *
 * @param authority `HOST:PORT`, as it stands in the request; the proxy looks the name up.
 * @returns a socket that is paused and whose next byte is the host's
 * @throws {Error} with one line for the log when the proxy can't be reached, refuses, answers with
 * something else than HTTP, or not at all before the signal comes
 */
export async function dialThroughProxy(
  proxy: ProxyAddress,
  authority: string,
  signal: AbortSignal,
): Promise<Socket> {
  const socket = await open(proxy, signal);
  // It stays: what the connection says while nobody else listens must not end the process.
  socket.on("error", () => {});
  try {
    // Asked for here, as what is above may be TLS, which does not hand it down.
    socket.setNoDelay(true);
    const answer = answerTo(socket, signal);
    socket.write(requestHead(authority, proxy.authorization));
    const { head, isExact } = await answer;
    const fault = faultOf(head, isExact, authority, proxy);
    if (fault !== undefined) throw new Error(fault);
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** Connects to the proxy, TLS included. */
async function open(
  { isTls, hostname, port, caPem: ca }: ProxyAddress,
  signal: AbortSignal,
): Promise<Socket> {
  try {
    const connection = await openConnection(hostname, port, signal);
    if (!isTls) return connection;
    const client = { name: hostname, ca, alpn: ["http/1.1"], advice: tlsAdvice };
    return await secure(connection, client, signal);
  } catch (error) {
    if (signal.aborted) throw new Error(`No connection to the proxy: ${reasonOf(signal)}`);
    const { message } = error as Error;
    const what = error instanceof UntrustedPeerError
      ? `The proxy can't be trusted: ${message}`
      : `Could not connect to the proxy: ${advised(message || "the connection broke", tlsAdvice)}`;
    throw new Error(what, { cause: error });
  }
}

/** What a proxy has answered. */
interface ProxyAnswer {
  readonly head: ResponseHead;
  /** Whether nothing came behind it. */
  readonly isExact: boolean;
}

/** Waits for the head of the proxy's answer. */
function answerTo(socket: Socket, signal: AbortSignal): Promise<ProxyAnswer> {
  const reader = HeadReader.forResponses(headLimits);
  let take: (chunk: Uint8Array) => void = () => {};
  return settledBy<ProxyAnswer>(socket, signal, {
    what: "No answer from the proxy",
    begin: (resolve, reject) => {
      take = (chunk) => {
        try {
          const head = reader.read(chunk);
          if (head) resolve({ head, isExact: reader.takeRest().length === 0 });
        } catch (error) {
          if (!(error instanceof HeadError)) throw error;
          reject(new Error(malformed(error)));
        }
      };
      socket.on("data", take);
    },
    end: () => {
      socket.off("data", take);
      // The next bytes are for whoever uses the connection.
      socket.pause();
    },
    failed: (error) => `The proxy closed the connection before it answered: ${error.message}`,
  });
}

interface Waiting<T> {
  /** What there is not when the signal comes. */
  readonly what: string;
  readonly begin: (resolve: (value: T) => void, reject: (error: Error) => void) => void;
  readonly end: (resolve: (value: T) => void) => void;
  readonly failed: (error: Error) => string;
}

/** Waits for something that a socket does, unless it fails, closes, or the signal comes. */
async function settledBy<T>(
  socket: Socket,
  signal: AbortSignal,
  { what, begin, end, failed }: Waiting<T>,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const onError = (error: Error): void => reject(new Error(failed(error)));
  const onClose = (): void => onError(new Error("it sent nothing more"));
  const onAbort = (): void => reject(new Error(`${what}: ${reasonOf(signal)}`));
  begin(resolve, reject);
  socket.on("error", onError);
  socket.on("end", onClose);
  socket.on("close", onClose);
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  try {
    return await promise;
  } finally {
    end(resolve);
    socket.off("error", onError);
    socket.off("end", onClose);
    socket.off("close", onClose);
    signal.removeEventListener("abort", onAbort);
  }
}

function reasonOf({ reason }: AbortSignal): string {
  return reason instanceof Error ? reason.message : String(reason);
}

function requestHead(authority: string, authorization: string | undefined): string {
  const credentials = authorization === undefined
    ? ""
    : `Proxy-Authorization: ${authorization}\r\n`;
  return `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${credentials}\r\n`;
}

/** Why an answer is none of HTTP/1.1, and what may be done about it. */
function malformed({ message }: HeadError): string {
  if (message === headFaults.tls) return "The proxy speaks TLS: use https:// in its URL";
  if (message === headFaults.tooLong(headLimits.maxBytes)) {
    return `The proxy's answer is over ${headLimits.maxBytes} bytes`;
  }
  const isHttp = message !== headFaults.notHttp && message !== headFaults.statusLine;
  if (isHttp) return `The proxy's answer is malformed: ${message}`;
  return "The proxy's answer is not HTTP/1.1: is it an HTTP proxy?";
}

/** What is wrong with an answer, and what may be done about it; undefined for success. */
function faultOf(
  { status }: ResponseHead,
  isExact: boolean,
  authority: string,
  proxy: ProxyAddress,
): string | undefined {
  if (status < 200 || status > 299) return refusal(status, authority, proxy);
  // Neither TLS nor HTTP has the host speak first.
  return isExact ? undefined : "The proxy sent more than its answer";
}

function refusal(status: number, authority: string, { authorization }: ProxyAddress): string {
  switch (status) {
    case 407:
      return authorization === undefined
        ? "The proxy asks for credentials (status 407): give them as http://USER:PASSWORD@HOST:PORT"
        : "The proxy does not take the credentials in its URL (status 407)";
    case 403:
      return `The proxy does not allow connections to ${authority} (status 403)`;
    case 502:
    case 503:
    case 504:
      return `The proxy could not connect to ${authority} (status ${status})`;
    default:
      return `The proxy refused CONNECT to ${authority} (status ${status})`;
  }
}
