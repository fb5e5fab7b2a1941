/** The checks of an agent's way to its target, up to a request with its credential. */
import { connect as connectPlain, isIP } from "node:net";
import { Credentials } from "../../../agent/credentials.ts";
import { expiryOf } from "../../../agent/credential_expiry.ts";
import { encodeLatin1 } from "../../../bytes/bytes.ts";
import type { Check } from "../../../commands/check_report.ts";
import { formatAddress, type TargetAddress } from "../../../config/options/address.ts";
import { headFaults } from "../../../http1/faults.ts";
import { defaultHeadLimits, HeadError, type ResponseHead } from "../../../http1/head.ts";
import { HeadReader } from "../../../http1/head_reader.ts";
import type { ByteSocket } from "../../../net/byte_socket.ts";
import { tokenFile } from "../token_file.ts";
import { dateFault, faultLine, targetTlsAdvice } from "../../tls_advice.ts";
import { describe, readPeerCertificate } from "./peer_certificate.ts";
import { reachChecks } from "./reach.ts";

/** The target, and how the agent reaches it. */
export interface CheckedTarget {
  readonly address: TargetAddress;
  /** Undefined for a target without TLS. */
  readonly tls?: { readonly serverName?: string | undefined } | undefined;
  readonly saTokenPath?: string | undefined;
  /** As the agent connects. */
  readonly dial: (signal: AbortSignal) => Promise<ByteSocket>;
}

/** All of them, in order. */
export function targetChecks(target: CheckedTarget): Check[] {
  const { address, tls } = target;
  return [
    ...reachChecks({ name: "target", ...address, option: "--target" }),
    ...(tls
      ? [{ name: "target TLS", run: (signal: AbortSignal) => checkTls(target, signal) }]
      : []),
    { name: "target credential", run: (signal) => checkCredential(target, signal) },
  ];
}

async function checkTls(target: CheckedTarget, signal: AbortSignal): Promise<string> {
  const certificate = await shownCertificate(target, signal);
  try {
    (await target.dial(signal)).destroy();
  } catch (error) {
    const fault = certificate && dateFault(certificate, Date.now());
    if (fault === undefined) throw error;
    const line = faultLine("dates", fault, targetTlsAdvice);
    throw new Error(`the target can't be trusted: ${line}`);
  }
  return certificate ? describe(certificate) : "connected";
}

/** Unverified, and only to tell of it. */
async function shownCertificate({ address, tls }: CheckedTarget, signal: AbortSignal) {
  const name = tls?.serverName ?? address.hostname;
  const connection = connectPlain({ host: address.hostname, port: address.port });
  try {
    return await readPeerCertificate(connection, {
      ...(isIP(name) ? {} : { servername: name }),
      rejectUnauthorized: false,
      ALPNProtocols: ["http/1.1"],
    }, signal);
  } catch {
    return undefined; // The agent's own connection, which follows, says what is wrong.
  }
}

async function checkCredential(target: CheckedTarget, signal: AbortSignal): Promise<string> {
  const { saTokenPath: path } = target;
  let token = "";
  const file = path === undefined ? undefined : tokenFile(path);
  const authorization = new Credentials(file, (read) => void (token = read)).authorization();
  const status = await askTarget(target, authorization, signal);
  if (status === 400 && target.tls === undefined) {
    throw new Error(
      "the target answers 400 to plain HTTP; if it speaks TLS, leave out --plain-target",
    );
  }
  if (authorization === undefined) {
    return `the target answers (status ${status}); the agent sends no credential`;
  }
  if (status !== 401) return `the target accepts the token (status ${status} for ${probePath})`;
  const expiresMs = expiryOf(token);
  const isOver = expiresMs !== undefined && expiresMs <= Date.now();
  throw new Error(
    `the target refuses the token in ${JSON.stringify(path)} (status 401)` +
      (isOver ? `: it expired on ${new Date(expiresMs).toISOString()}` : "") +
      "; write a valid token to that file, or name another with --sa-token-path",
  );
}

/** Kubernetes answers it for every account, and other services with any status; it changes nothing. */
const probePath = "/version";

async function askTarget(
  { address, dial }: CheckedTarget,
  authorization: string | undefined,
  signal: AbortSignal,
): Promise<number> {
  const socket = await dial(signal);
  try {
    const head = headFrom(socket, signal);
    socket.write(encodeLatin1(
      `GET ${probePath} HTTP/1.1\r\nHost: ${formatAddress(address)}\r\n` +
        (authorization === undefined ? "" : `Authorization: ${authorization}\r\n`) +
        "User-Agent: culvert-agent-check\r\nAccept: */*\r\nConnection: close\r\n\r\n",
    ));
    return (await head).status;
  } finally {
    socket.destroy();
  }
}

/** @returns the head of the answer. */
function headFrom(socket: ByteSocket, signal: AbortSignal): Promise<ResponseHead> {
  const { promise, resolve, reject } = Promise.withResolvers<ResponseHead>();
  const reader = HeadReader.forResponses(defaultHeadLimits);
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort);
  socket.on("data", (chunk) => {
    try {
      const head = reader.read(chunk);
      if (head) resolve(head);
    } catch (error) {
      if (!(error instanceof HeadError)) throw error;
      reject(new Error(malformed(error)));
    }
  });
  const ended = (): void =>
    reject(
      new Error(
        "the target ended the connection without an answer; if it speaks TLS, leave out " +
          "--plain-target",
      ),
    );
  for (const event of ["end", "close", "error"] as const) socket.on(event, ended);
  socket.resume();
  return promise.finally(() => signal.removeEventListener("abort", abort));
}

function malformed({ message }: HeadError): string {
  if (message === headFaults.tls) return "the target speaks TLS; leave out --plain-target";
  return `the target's answer is not HTTP/1.1 (${message}); check --target`;
}
