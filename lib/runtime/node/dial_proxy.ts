/**
 * A connection through an HTTP proxy, by CONNECT (RFC 9110 section 9.3.6).
 *
 * Our own: an `Agent` for `node:http` that does this would bring the same few lines and a place in
 * that module's pooling, and say "Proxy response (407)" where a user needs to know what to do.
 */
import { connect as connectPlain, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { headFaults } from "../../http1/faults.ts";
import { HeadError, type ResponseHead } from "../../http1/head.ts";
import { HeadReader } from "../../http1/head_reader.ts";
import { advised, type TlsAdvice } from "../tls_advice.ts";

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
  otherName: "--proxy must have a name of its certificate",
};

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
  const socket = open(proxy);
  // It stays: what the connection says while nobody else listens must not end the process.
  socket.on("error", () => {});
  try {
    await opened(socket, proxy, signal);
    // `ws` asks for it on the socket that it gets, which may be TLS in this one.
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

function open({ isTls, hostname: host, port, caPem }: ProxyAddress): Socket {
  if (!isTls) return connectPlain({ host, port });
  return connectTls({
    ...{ host, port, minVersion: "TLSv1.2", ALPNProtocols: ["http/1.1"] },
    // A name indication must not be an address (RFC 6066 section 3).
    ...(isIP(host) ? {} : { servername: host }),
    ...(caPem === undefined ? {} : { ca: caPem }),
  });
}

/** Waits until the connection is made, TLS included. */
function opened(socket: Socket, { isTls }: ProxyAddress, signal: AbortSignal): Promise<void> {
  const event = isTls ? "secureConnect" : "connect";
  return settledBy<void>(socket, signal, {
    what: "No connection to the proxy",
    begin: (resolve) => socket.once(event, resolve),
    end: (resolve) => socket.off(event, resolve),
    failed: ({ message }) =>
      `Could not connect to the proxy: ${advised(message || "the connection broke", tlsAdvice)}`,
  });
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
          if (head) resolve({ head, isExact: reader.rest.length === 0 });
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
